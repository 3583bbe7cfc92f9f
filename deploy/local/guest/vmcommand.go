package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// VMCommand is `vm`: a word with the guest of a running VM.
func VMCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "vm",
		Short: "talk to the guest of a running VM",
	}
	cmd.PersistentFlags().StringVar(&dir, "dir", "", "the stack's folder")
	_ = cmd.MarkPersistentFlagRequired("dir") // fails only for a flag that does not exist

	disk, length, offset, file, seed := "disk", "length", "offset", "file", "seed"
	for _, sub := range []struct {
		op, short       string
		flags, required []string
	}{
		{OpHash, "print the SHA-256 of a disk, or of its first bytes", []string{disk, length}, []string{disk}},
		{OpRead, "write a part of a disk into a sparse file", []string{disk, offset, length, file}, []string{disk, length, file}},
		{OpWrite, "write a file onto a disk", []string{disk, offset, file}, []string{disk, file}},
		{OpFill, "write random data that follows from a seed", []string{disk, offset, length, seed}, []string{disk, length}},
		{OpQuiet, "stop writing records; prints the last one's sequence", nil, nil},
		{OpResume, "write records again", nil, nil},
		{OpFreezes, "print when the guest was frozen and thawed, one freeze a line, oldest first", nil, nil},
		{OpStatus, "print the guest's state as JSON", nil, nil},
		{OpShutdown, "shut the VM down from inside", nil, nil},
	} {
		request := Request{Op: sub.op}
		command := &cobra.Command{
			Use: sub.op + " NAMESPACE/NAME", Short: sub.short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return ask(cmd, dir, args[0], request) },
		}
		for _, flag := range sub.flags {
			switch flag {
			case disk:
				command.Flags().StringVar(&request.Disk, disk, "", "name of the volume in the VM's spec")
			case length:
				command.Flags().Int64Var(&request.Length, length, 0, "bytes")
			case offset:
				command.Flags().Int64Var(&request.Offset, offset, 0, "first byte on the disk")
			case file:
				command.Flags().StringVar(&request.File, file, "", "path of the file")
			case seed:
				command.Flags().Uint64Var(&request.Seed, seed, 1, "where the data follows from")
			}
		}
		for _, flag := range sub.required {
			_ = command.MarkFlagRequired(flag)
		}
		cmd.AddCommand(command)
	}
	return cmd
}

func ask(cmd *cobra.Command, dir, name string, request Request) error {
	namespace, vm, ok := strings.Cut(name, "/")
	if !ok {
		return fmt.Errorf("%q is not NAMESPACE/NAME", name)
	}
	if request.File != "" {
		path, err := filepath.Abs(request.File)
		if err != nil {
			return err
		}
		request.File = path
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	response, err := Call(ctx, ControlPath(dir, namespace, vm), request)
	if err != nil {
		return err
	}
	switch request.Op {
	case OpHash:
		fmt.Fprintln(cmd.OutOrStdout(), response.SHA256)
	case OpQuiet:
		fmt.Fprintln(cmd.OutOrStdout(), response.Sequence)
	case OpFreezes:
		for _, f := range response.Freezes {
			fmt.Fprintln(cmd.OutOrStdout(), f)
		}
	case OpStatus:
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		return encoder.Encode(response)
	}
	return nil
}
