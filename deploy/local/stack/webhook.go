package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// startWebhook stands in for the Service before the coordinators and installs the webhook's configuration with its
// address: the API server here has no network of Services. The coordinators add whom to trust.
func (u *up) startWebhook(ctx context.Context, c client.Client) error {
	service, err := serveService(ctx, coordinators)
	if err != nil {
		return err
	}
	u.about.Webhook = service
	file := filepath.Join(u.Manifests, "webhook", "webhook.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	objects, err := decode(data)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	for _, o := range objects {
		if err := callByURL(o, "https://"+service.Address); err != nil {
			return fmt.Errorf("in %s: %w", file, err)
		}
	}
	return apply(ctx, c, objects...)
}

// callByURL puts an address in the place of a configuration's Services.
func callByURL(configuration *unstructured.Unstructured, base string) error {
	webhooks, _, err := unstructured.NestedSlice(configuration.Object, "webhooks")
	if err != nil {
		return err
	}
	for i := range webhooks {
		webhook, ok := webhooks[i].(map[string]any)
		if !ok {
			return fmt.Errorf("webhook %d is no object", i)
		}
		path, _, err := unstructured.NestedString(webhook, "clientConfig", "service", "path")
		if err != nil {
			return err
		}
		webhook["clientConfig"] = map[string]any{"url": base + path}
	}
	return unstructured.SetNestedSlice(configuration.Object, webhooks, "webhooks")
}
