package certs

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Trust is where callers find whom to trust: in webhook configurations, or in a
// ConfigMap.
type Trust struct {
	// Configuration is the name of the ValidatingWebhookConfiguration and of the
	// MutatingWebhookConfiguration whose webhooks are to trust the certificates; one
	// that is not there is not told.
	Configuration string
	// Bundle is a ConfigMap for those who call from elsewhere, with the
	// authorities under ca.crt; it is made when it does not exist.
	Bundle types.NamespacedName
}

// place is one object of a Trust as it was read.
type place struct {
	client.Object
	key     client.ObjectKey
	missing bool
}

// places are all that a bundle is told to.
type places []place

func (t Trust) empty() places {
	if t.Configuration != "" {
		key := client.ObjectKey{Name: t.Configuration}
		return places{
			{Object: &admissionregistrationv1.ValidatingWebhookConfiguration{}, key: key},
			{Object: &admissionregistrationv1.MutatingWebhookConfiguration{}, key: key},
		}
	}
	return places{{Object: &corev1.ConfigMap{}, key: t.Bundle}}
}

func (t Trust) read(ctx context.Context, c client.Reader) (places, error) {
	all := t.empty()
	for i := range all {
		p := &all[i]
		err := c.Get(ctx, p.key, p.Object)
		p.missing = apierrors.IsNotFound(err)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("reading who is to trust the certificate, %s: %w", p.key.Name, err)
		}
	}
	return all, nil
}

func (all places) trusts(bundle []byte) bool {
	return !slices.ContainsFunc(all, func(p place) bool { return !p.trusts(bundle) })
}

func (all places) tell(ctx context.Context, c client.Client, bundle []byte) error {
	for _, p := range all {
		if err := p.tell(ctx, c, bundle); err != nil {
			return err
		}
	}
	return nil
}

// trusts: nobody is left who has to be told of a bundle.
func (p place) trusts(bundle []byte) bool {
	switch o := p.Object.(type) {
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for _, w := range o.Webhooks {
			if !bytes.Equal(w.ClientConfig.CABundle, bundle) {
				return false
			}
		}
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for _, w := range o.Webhooks {
			if !bytes.Equal(w.ClientConfig.CABundle, bundle) {
				return false
			}
		}
	case *corev1.ConfigMap:
		return o.Data[keyAuthorities] == string(bundle)
	}
	return true
}

// tell has the object trust a bundle.
func (p place) tell(ctx context.Context, c client.Client, bundle []byte) error {
	if p.trusts(bundle) {
		return nil
	}
	var err error
	switch o := p.Object.(type) {
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for i := range o.Webhooks {
			o.Webhooks[i].ClientConfig.CABundle = bundle
		}
		err = c.Update(ctx, o)
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for i := range o.Webhooks {
			o.Webhooks[i].ClientConfig.CABundle = bundle
		}
		err = c.Update(ctx, o)
	case *corev1.ConfigMap:
		o.Namespace, o.Name = p.key.Namespace, p.key.Name
		if o.Data == nil {
			o.Data = map[string]string{}
		}
		o.Data[keyAuthorities] = string(bundle)
		if p.missing {
			err = c.Create(ctx, o)
		} else {
			err = c.Update(ctx, o)
		}
	}
	if err != nil {
		return fmt.Errorf("writing into %s whom to trust: %w", p.key.Name, err)
	}
	return nil
}
