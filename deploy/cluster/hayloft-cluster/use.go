package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"hayloft.dev/deploy/cluster/cluster"
	"hayloft.dev/deploy/cluster/machine"
)

func downCommand() *cobra.Command {
	return ofFolder(&cobra.Command{
		Use:   "down --dir DIR",
		Short: "end the cluster of a folder, or remove what one that was killed left, and wait until it is gone",
		Args:  cobra.NoArgs,
	}, func(cmd *cobra.Command, dir string, _ []string) error {
		ended, err := cluster.Down(cmd.Context(), dir)
		if err != nil {
			return err
		}
		if ended {
			fmt.Fprintln(cmd.OutOrStdout(), "ended")
		} else {
			fmt.Fprintln(cmd.OutOrStdout(), "no cluster is running in", dir)
		}
		return nil
	})
}

func enterCommand() *cobra.Command {
	return ofFolder(&cobra.Command{
		Use:   "enter --dir DIR MACHINE [-- COMMAND...]",
		Short: "run a command, or a shell, in a machine: control, node-1 or node-2",
		Args:  cobra.MinimumNArgs(1),
	}, func(_ *cobra.Command, dir string, args []string) error {
		about, err := cluster.Describe(dir)
		if err != nil {
			return err
		}
		m, err := about.Machine(args[0])
		if err != nil {
			return err
		}
		command := args[1:]
		if len(command) == 0 {
			command = []string{"/bin/sh"}
		}
		command = machine.Enter(m.PID, command...)
		path, err := exec.LookPath(command[0])
		if err != nil {
			return err
		}
		return syscall.Exec(path, command, os.Environ())
	})
}

func cutCommand() *cobra.Command {
	return ofFolder(&cobra.Command{
		Use: "cut --dir DIR NODE", Short: "cut a node off the network", Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, dir string, args []string) error {
		return cluster.Link(cmd.Context(), dir, args[0], false)
	})
}

func healCommand() *cobra.Command {
	return ofFolder(&cobra.Command{
		Use: "heal --dir DIR NODE", Short: "connect a node that was cut off", Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, dir string, args []string) error {
		return cluster.Link(cmd.Context(), dir, args[0], true)
	})
}

// ofFolder gives a command the flag --dir.
func ofFolder(cmd *cobra.Command, run func(cmd *cobra.Command, dir string, args []string) error) *cobra.Command {
	var dir string
	cmd.Flags().StringVar(&dir, "dir", "", "the cluster's folder")
	_ = cmd.MarkFlagRequired("dir") // fails only for a flag that does not exist
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return run(cmd, dir, args) }
	return cmd
}
