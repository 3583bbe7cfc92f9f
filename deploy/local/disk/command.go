package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/guest/ring"
)

// user names the tickets of the command.
const user = "hayloft-local-disk"

// where says which claim a command is for.
type where struct {
	kubeconfig, namespace, claim, node, longhornNamespace string
}

// Command is `disk`: what can be done with a claim whose volume is not in use.
func Command() *cobra.Command {
	var w where
	cmd := &cobra.Command{
		Use:   "disk",
		Short: "read and write the disk behind a claim that no VM uses",
		Long: "Each of these attaches the claim's volume, works through its engine and detaches it again.\n" +
			"For the disks of a running VM there is `vm`.",
		PersistentPreRun: func(*cobra.Command, []string) {
			// The engine's data path logs what it also returns as errors, and every disconnect.
			logrus.SetLevel(logrus.PanicLevel)
		},
	}
	f := cmd.PersistentFlags()
	f.StringVar(&w.kubeconfig, "kubeconfig", "", "the cluster's admin kubeconfig (default $KUBECONFIG)")
	f.StringVarP(&w.namespace, "namespace", "n", "default", "the claim's namespace")
	f.StringVar(&w.claim, "claim", "", "name of the PersistentVolumeClaim")
	f.StringVar(&w.node, "node", "", "node to attach to (default one with a replica)")
	f.StringVar(&w.longhornNamespace, "longhorn-namespace", "longhorn-system", "Longhorn's namespace")
	_ = cmd.MarkPersistentFlagRequired("claim") // fails only for a flag that does not exist
	cmd.AddCommand(sha256Command(&w), exportCommand(&w), importCommand(&w), fillCommand(&w), sequenceCommand(&w))
	return cmd
}

func sha256Command(w *where) *cobra.Command {
	var length int64
	cmd := &cobra.Command{
		Use: "sha256", Short: "print the SHA-256 of the disk", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return w.with(cmd.Context(), func(ctx context.Context, d *Device) error {
				if length == 0 {
					length = d.Size()
				}
				sum, err := SHA256(ctx, d, length)
				if err == nil {
					fmt.Fprintln(cmd.OutOrStdout(), sum)
				}
				return err
			})
		},
	}
	cmd.Flags().Int64Var(&length, "length", 0, "only the first so many bytes")
	return cmd
}

func exportCommand(w *where) *cobra.Command {
	var path string
	var offset, length int64
	cmd := &cobra.Command{
		Use: "export", Short: "write the disk into a sparse file", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return w.with(cmd.Context(), func(ctx context.Context, d *Device) error {
				if length == 0 {
					length = d.Size() - offset
				}
				return Export(ctx, d, offset, length, path)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&path, "file", "", "the file to write")
	f.Int64Var(&offset, "offset", 0, "first byte")
	f.Int64Var(&length, "length", 0, "bytes (default to the end)")
	_ = cmd.MarkFlagRequired("file")
	return cmd
}

func importCommand(w *where) *cobra.Command {
	var in Import
	var isExact bool
	cmd := &cobra.Command{
		Use: "import", Short: "write a file's non-zero blocks onto the disk", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in.Blank = !isExact
			return w.with(cmd.Context(), func(ctx context.Context, d *Device) error {
				return ImportFile(ctx, d, d.Size(), in)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Path, "file", "", "the file to read")
	f.Int64Var(&in.Offset, "offset", 0, "where on the disk the file's first byte goes")
	f.BoolVar(&isExact, "exact", false, "clear what is zero in the file too: needed for a disk that is not blank")
	_ = cmd.MarkFlagRequired("file")
	return cmd
}

func fillCommand(w *where) *cobra.Command {
	var offset, length int64
	var seed uint64
	var isHashed bool
	cmd := &cobra.Command{
		Use: "fill", Short: "write random data that follows from a seed", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return w.with(cmd.Context(), func(ctx context.Context, d *Device) error {
				if length == 0 {
					length = d.Size() - offset
				}
				if err := within("filling", offset, length, d.Size()); err != nil {
					return err
				}
				if err := Fill(ctx, d, offset, length, seed); err != nil || !isHashed {
					return err
				}
				sum, err := SHA256(ctx, d, d.Size())
				if err == nil {
					fmt.Fprintln(cmd.OutOrStdout(), sum)
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	f.Int64Var(&offset, "offset", 0, "first byte")
	f.Int64Var(&length, "length", 0, "bytes (default to the end)")
	f.Uint64Var(&seed, "seed", 1, "where the data follows from")
	f.BoolVar(&isHashed, "sha256", false, "print the SHA-256 of the whole disk afterwards")
	return cmd
}

func sequenceCommand(w *where) *cobra.Command {
	return &cobra.Command{
		Use: "sequence", Short: "print the guest's last record on the disk", Args: cobra.NoArgs,
		Long: "Prints: last sequence, whether all records before it are there, the disk's name, the VM's UID and the time of writing.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return w.with(cmd.Context(), func(_ context.Context, d *Device) error {
				r, err := ring.On(d.Size())
				if err != nil {
					return err
				}
				state, err := r.Read(d)
				if err != nil {
					return err
				}
				return printState(cmd.OutOrStdout(), state)
			})
		},
	}
}

func printState(out io.Writer, s ring.State) error {
	if s.Last == nil {
		_, err := fmt.Fprintf(out, "sequence=0 whole=%t damaged=%d\n", s.Whole(), s.Damaged)
		return err
	}
	_, err := fmt.Fprintf(out, "sequence=%d whole=%t damaged=%d disk=%s vm=%s time=%s\n",
		s.Last.Sequence, s.Whole(), s.Damaged, s.Last.Disk, s.Last.VM, s.Last.Time.Format("2006-01-02T15:04:05.000Z07:00"))
	return err
}

// with attaches the claim's volume for the time of work. A signal ends the work and still detaches.
func (w where) with(ctx context.Context, work func(context.Context, *Device) error) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	c, err := w.client()
	if err != nil {
		return err
	}
	volume, err := VolumeOf(ctx, c, w.namespace, w.claim)
	if err != nil {
		return err
	}
	attached, err := Attacher{Client: c, Namespace: w.longhornNamespace, User: user, Node: w.node}.Attach(ctx, volume)
	if errors.Is(err, ErrInUse) {
		vm, vmErr := w.usedBy(ctx, c)
		if vm != "" {
			return fmt.Errorf("claim %s is a disk of the running VM %s/%s: use `hayloft-local vm`, or stop the VM", w.claim, w.namespace, vm)
		}
		return errors.Join(err, vmErr)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, attached.Close(ctx)) }()
	return work(ctx, attached.Device)
}

func (w where) client() (client.Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = w.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if err := errors.Join(longhorn.AddToScheme(scheme.Scheme), kubevirt.AddToScheme(scheme.Scheme)); err != nil {
		return nil, err
	}
	return client.New(config, client.Options{})
}

// usedBy is the running VM that has the claim among its disks; "" for none.
func (w where) usedBy(ctx context.Context, c client.Reader) (string, error) {
	var vmis kubevirt.VirtualMachineInstanceList
	if err := c.List(ctx, &vmis, client.InNamespace(w.namespace)); err != nil {
		return "", fmt.Errorf("looking for the VM that uses claim %s: %w", w.claim, err)
	}
	for _, vmi := range vmis.Items {
		for _, status := range vmi.Status.VolumeStatus {
			if info := status.PersistentVolumeClaimInfo; info != nil && info.ClaimName == w.claim {
				return vmi.Name, nil
			}
		}
	}
	return "", nil
}
