package main

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func clientCommand() *cobra.Command {
	var dir, user, group, server, kubeconfig string
	cmd := &cobra.Command{
		Use:   "client --dir DIR --user USER --server URL --kubeconfig FILE",
		Short: "write a kubeconfig with a certificate of its own, such as a kubelet's",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			keys := pki{dir: filepath.Join(dir, "pki")}
			ca, err := readAuthority(keys.caCert(), keys.caKey())
			if err != nil {
				return fmt.Errorf("reading the authority: %w", err)
			}
			var groups []string
			if group != "" {
				groups = append(groups, group)
			}
			cert, key := kubeconfig+".crt", kubeconfig+".key"
			if err := ca.issue(clientTemplate(user, groups...), cert, key); err != nil {
				return fmt.Errorf("issuing the certificate of %s: %w", user, err)
			}
			return writeKubeconfig(kubeconfig, server, keys.caCert(), cert, key)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", "", "the API server's folder")
	f.StringVar(&user, "user", "", "the certificate's user")
	f.StringVar(&group, "group", "", "the user's group")
	f.StringVar(&server, "server", "", "where the client reaches the API server")
	f.StringVar(&kubeconfig, "kubeconfig", "", "where to write it; certificate and key lie beside it")
	for _, name := range []string{"dir", "user", "server", "kubeconfig"} {
		_ = cmd.MarkFlagRequired(name) // fails only for a flag that does not exist
	}
	return cmd
}

func readAuthority(certPath, keyPath string) (*authority, error) {
	der, err := readPEM(certPath)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if der, err = readPEM(keyPath); err != nil {
		return nil, err
	}
	var key *ecdsa.PrivateKey
	if key, err = x509.ParseECPrivateKey(der); err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key}, nil
}

func readPEM(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", path)
	}
	return block.Bytes, nil
}
