package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// Keys of the Secret.
const (
	keyAuthorities  = "ca.crt" // the trusted ones, newest first
	keyAuthorityKey = "ca.key" // of the first one; those before it sign nothing any more
	keyServing      = "tls.crt"
	keyServingKey   = "tls.key"
)

// keyring is the content of the Secret.
type keyring struct {
	authorities []authority
	key         crypto.Signer // of authorities[0]
	serving     *serving
}

type authority struct {
	validity
	cert *x509.Certificate
}

type serving struct {
	validity
	names []string // sorted
	pair  tls.Certificate
}

// parse reads what can be used of a Secret. What cannot be is made anew, so it
// is left out without an error.
func parse(data map[string][]byte) keyring {
	var k keyring
	for rest := data[keyAuthorities]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && cert.IsCA {
			k.authorities = append(k.authorities, authority{validity: validityOf(cert), cert: cert})
		}
	}
	if block, _ := pem.Decode(data[keyAuthorityKey]); block != nil && len(k.authorities) > 0 {
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if public, ok := k.authorities[0].cert.PublicKey.(*ecdsa.PublicKey); err == nil && ok && key.PublicKey.Equal(public) {
			k.key = key
		}
	}
	if pair, err := tls.X509KeyPair(data[keyServing], data[keyServingKey]); err == nil {
		k.serving = &serving{validity: validityOf(pair.Leaf), names: namesOf(pair.Leaf), pair: pair}
	}
	return k
}

// bundle are the trusted authorities, in PEM.
func (k keyring) bundle() []byte {
	var out bytes.Buffer
	for _, a := range k.authorities {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	}
	return out.Bytes()
}

// encode is the inverse of parse.
func (k keyring) encode() (map[string][]byte, error) {
	authorityKey, err := encodeKey(k.key)
	if err != nil {
		return nil, err
	}
	servingKey, err := encodeKey(k.serving.pair.PrivateKey)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		keyAuthorities: k.bundle(), keyAuthorityKey: authorityKey, keyServingKey: servingKey,
		keyServing: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.serving.pair.Certificate[0]}),
	}, nil
}

// signer is the index of the authority that signed what is served, -1 when it
// is none of them.
func (k keyring) signer() int {
	return slices.IndexFunc(k.authorities, func(a authority) bool {
		return k.serving.pair.Leaf.CheckSignatureFrom(a.cert) == nil
	})
}

// do carries out a step.
func (k keyring) do(a action, now time.Time, names []string, l Lifetimes) (keyring, error) {
	switch a {
	case newAuthority:
		return k.addAuthority(now, l.Authority)
	case newServing:
		return k.sign(now, names, l.Serving)
	case dropAuthorities:
		k.authorities = k.authorities[:1]
	}
	return k, nil
}

func (k keyring) addAuthority(now time.Time, life time.Duration) (keyring, error) {
	template, key, err := template(now, now.Add(life))
	if err != nil {
		return k, err
	}
	// The name holds the serial number: of two authorities of one name a client
	// might try the wrong one only.
	template.Subject = pkix.Name{CommonName: "hayloft-ca-" + template.SerialNumber.Text(36)}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	cert, err := create(template, template, key.Public(), key)
	if err != nil {
		return k, err
	}
	kept := []authority{{validity: validityOf(cert), cert: cert}}
	for _, old := range k.authorities {
		if now.Before(old.end) {
			kept = append(kept, old)
		}
	}
	k.authorities, k.key = kept, key
	return k, nil
}

func (k keyring) sign(now time.Time, names []string, life time.Duration) (keyring, error) {
	issuer := k.authorities[0]
	template, key, err := template(now, earlier(now.Add(life), issuer.end))
	if err != nil {
		return k, err
	}
	template.Subject = pkix.Name{CommonName: "hayloft"}
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	cert, err := create(template, issuer.cert, key.Public(), k.key)
	if err != nil {
		return k, err
	}
	k.serving = &serving{validity: validityOf(cert), names: namesOf(cert), pair: tls.Certificate{
		Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert,
	}}
	return k, nil
}

func template(begin, end time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("making a serial number: %w", err)
	}
	return &x509.Certificate{SerialNumber: serial, NotBefore: begin.Add(-backdate), NotAfter: end}, key, nil
}

func create(template, parent *x509.Certificate, public any, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

func encodeKey(key any) ([]byte, error) {
	own, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a key of type %T is not one of ours", key)
	}
	der, err := x509.MarshalECPrivateKey(own)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func validityOf(c *x509.Certificate) validity {
	return validity{begin: c.NotBefore.Add(backdate), end: c.NotAfter}
}

func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	slices.Sort(names)
	return names
}
