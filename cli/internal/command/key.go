package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"hayloft.dev/pkg/seal"
)

// keyGenerate makes a pair of keys without asking the cluster.
func (a *app) keyGenerate() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "generate --output FILE",
		Short: "Make an age key pair for the Secrets in backups",
		Long: `Make an age key pair. The identity, which opens what was encrypted, goes into a
file that only you can read; the recipient, to which Secrets are encrypted, is
printed: put it into the target's spec.encryption.recipients.

Make two pairs. Give this cluster one identity, as a Secret that the target's
spec.encryption.identitySecret names, and keep the other offline: with it another
cluster can restore the Secrets when this one is gone.`,
		Example: `  hayloft key generate --output cluster.key
  kubectl -n hayloft-system create secret generic backup-identity --from-file=identity=cluster.key
  hayloft key generate --output recovery.key`,
		Args: exactly(),
	}
	c.Flags().StringVarP(&output, "output", "o", "", "file for the identity; it must not exist")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if output == "" {
			return usage(c, "--output is missing: name the file for the identity")
		}
		identity, recipient, err := seal.Generate()
		if err != nil {
			return err
		}
		content := fmt.Sprintf("# created: %s\n# public key: %s\n%s\n", a.Now().UTC().Format(time.RFC3339), recipient, identity)
		if err := writeSecret(output, content); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.Err, "identity written to %s: whoever has it can read the Secrets in your backups\n", output); err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.Out, recipient)
		return err
	}
	return c
}

// writeSecret makes a file that only its owner can read; one that exists stays as
// it is, since an identity that is overwritten is lost.
func writeSecret(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already: name another file, an identity that is overwritten is lost", path)
	}
	if err != nil {
		return fmt.Errorf("writing the identity: %w", err)
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("writing the identity: %w", err)
	}
	return nil
}
