package target

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"sync"
	"time"
)

// ForEngine is a credential as an engine must be given it. A replica keeps what
// it was last given in its process's environment, and backupstore's
// SetupCredential leaves AWS_CERT and AZBLOB_CERT as they were when they come
// empty: one target's authority would go on being trusted for the next. So in
// place of none it gets a certificate that vouches for nothing.
func ForEngine(credential map[string]string) (map[string]string, error) {
	nobody, err := nobody()
	if err != nil {
		return nil, fmt.Errorf("making a certificate that stands for none: %w", err)
	}
	out := maps.Clone(credential)
	for _, name := range []string{Cert, AzureCert} {
		if out[name] == "" {
			out[name] = nobody
		}
	}
	return out, nil
}

// nobody is a certificate that is no authority's, was over long ago, and whose
// key nobody has.
var nobody = sync.OnceValues(func() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stands for no authority"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0), BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
})
