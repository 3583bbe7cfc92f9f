package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"

	"hayloft.dev/coordinator/control"
)

// shareFlags say whether shares get Pods of their own.
type shareFlags struct {
	pod    string
	user   int64
	claims string
}

func (f *shareFlags) bind(fs *flag.FlagSet) {
	fs.StringVar(&f.pod, "share-pods-like", "", "name of the Pod in which this coordinator runs: each NFS target gets one of the same image, into which the kubelet mounts it; empty: shares are worked on under --target-mounts")
	fs.Int64Var(&f.user, "share-user", 65534, "user as whom the Pods of shares read and write; 65534 is root's on servers that squash it, 0 needs a namespace whose Pod Security allows it")
	fs.StringVar(&f.claims, "share-claims", "", "comma-separated TARGET=CLAIM: claims in this namespace that hold the share of a target, such as a CIFS one, which no kubelet mounts by itself")
}

// container is the one of a coordinator's Pod that has the target worker in its image.
const container = "coordinator"

// pods are nil where shares are mounted.
func (f *shareFlags) pods(targetio, mounts string) (*control.SharePods, error) {
	if f.pod == "" {
		if f.claims != "" {
			return nil, errors.New("--share-claims: claims are for the Pods of shares, so give --share-pods-like too")
		}
		return nil, nil
	}
	if mounts != "" {
		return nil, errors.New("--target-mounts and --share-pods-like: shares are worked on at one place only, so leave out one of them")
	}
	if f.user < 0 {
		return nil, fmt.Errorf("--share-user is %d: give the number of a user", f.user)
	}
	p := &control.SharePods{Pod: f.pod, Container: container, Program: targetio, User: f.user, Claims: map[string]string{}}
	for pair := range strings.SplitSeq(f.claims, ",") {
		target, claim, ok := strings.Cut(pair, "=")
		if pair != "" && (!ok || target == "" || claim == "") {
			return nil, fmt.Errorf("--share-claims has %q: give TARGET=CLAIM", pair)
		}
		if pair != "" {
			p.Claims[target] = claim
		}
	}
	return p, nil
}
