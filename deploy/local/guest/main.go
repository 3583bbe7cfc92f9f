package guest

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Command is the program of a guest: what the KubeVirt stand-in starts for each running VM. It ends with 0 when it was
// shut down from inside or by SIGTERM, otherwise with an error.
func Command() *cobra.Command {
	var vm, control, sockets string
	var disks []string
	var interval time.Duration
	var agent bool
	cmd := &cobra.Command{
		Use:    "guest --vm UID --control SOCKET --disk NAME=VOLUME:BYTES...",
		Short:  "the stand-in for a running VM's operating system",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			o := Options{VM: vm, Interval: interval, Agent: agent, Control: control, Sockets: sockets, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
			for _, arg := range disks {
				d, err := parseDisk(arg)
				if err != nil {
					return err
				}
				o.Disks = append(o.Disks, d)
			}
			return Run(ctx, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&vm, "vm", "", "UID of the VirtualMachine")
	f.StringVar(&control, "control", "", "path of the control socket")
	f.StringVar(&sockets, "sockets", "", "folder with a socket for each disk's volume (default: the engines' own sockets)")
	f.StringArrayVar(&disks, "disk", nil, "a disk, in the order in which they are written")
	f.DurationVar(&interval, "write-interval", 50*time.Millisecond, "time between two rounds of records; 0 writes none")
	f.BoolVar(&agent, "agent", false, "an agent is in the guest: it can be frozen")
	_ = cmd.MarkFlagRequired("vm") // these fail only for a flag that does not exist
	_ = cmd.MarkFlagRequired("control")
	return cmd
}

// Args is the command line for a guest with these options.
func Args(o Options) []string {
	args := []string{"guest", "--vm", o.VM, "--control", o.Control, "--write-interval", o.Interval.String()}
	if o.Agent {
		args = append(args, "--agent")
	}
	if o.Sockets != "" {
		args = append(args, "--sockets", o.Sockets)
	}
	for _, d := range o.Disks {
		args = append(args, "--disk", fmt.Sprintf("%s=%s:%d", d.Name, d.Volume, d.Size))
	}
	return args
}

// parseDisk reads NAME=VOLUME:BYTES; names and volumes are DNS labels or UUIDs and hold neither sign.
func parseDisk(arg string) (Disk, error) {
	name, rest, hasVolume := strings.Cut(arg, "=")
	volume, bytes, hasSize := strings.Cut(rest, ":")
	size, err := strconv.ParseInt(bytes, 10, 64)
	if !hasVolume || !hasSize || err != nil || name == "" || volume == "" || size <= 0 {
		return Disk{}, fmt.Errorf("--disk %q is not NAME=VOLUME:BYTES", arg)
	}
	return Disk{Name: name, Volume: volume, Size: size}, nil
}
