package crds

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

const (
	establishTimeout = time.Minute            // 40 definitions take about 2 s on two cores
	establishPoll    = 100 * time.Millisecond // how often they are looked at
	inParallel       = 8                      // how many are sent at once
)

// Install makes or replaces the definitions and waits until each is established and shown in discovery: clients that
// map kinds to resources fail on a kind that is established but not yet discovered.
func Install(ctx context.Context, config *rest.Config, crds []*apiextensionsv1.CustomResourceDefinition) error {
	config = rest.CopyConfig(config)
	config.QPS = -1 // the client's own limit would be most of the time spent here
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("installing definitions: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, establishTimeout)
	defer cancel()

	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(inParallel)
	for _, crd := range crds {
		group.Go(func() error {
			if err := apply(groupCtx, client, crd); err != nil {
				return fmt.Errorf("installing definition %s: %w", crd.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := waitEstablished(ctx, client, crds); err != nil {
		return err
	}
	return waitDiscovered(ctx, client, crds)
}

func apply(ctx context.Context, client clientset.Interface, crd *apiextensionsv1.CustomResourceDefinition) error {
	api := client.ApiextensionsV1().CustomResourceDefinitions()
	_, err := api.Create(ctx, crd, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	current, err := api.Get(ctx, crd.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	replacement := crd.DeepCopy()
	replacement.ResourceVersion = current.ResourceVersion
	_, err = api.Update(ctx, replacement, metav1.UpdateOptions{})
	return err
}

func waitEstablished(ctx context.Context, client clientset.Interface, crds []*apiextensionsv1.CustomResourceDefinition) error {
	var missing []string
	err := wait.PollUntilContextCancel(ctx, establishPoll, true, func(ctx context.Context) (bool, error) {
		list, err := client.ApiextensionsV1().CustomResourceDefinitions().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		missing = notEstablished(crds, list.Items)
		return len(missing) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for definitions to be established (missing: %v): %w", missing, err)
	}
	return nil
}

// notEstablished are the names of wanted definitions that the server has not established.
func notEstablished(wanted []*apiextensionsv1.CustomResourceDefinition, have []apiextensionsv1.CustomResourceDefinition) []string {
	established := sets.New[string]()
	for _, crd := range have {
		for _, condition := range crd.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				established.Insert(crd.Name)
			}
		}
	}
	var missing []string
	for _, crd := range wanted {
		if !established.Has(crd.Name) {
			missing = append(missing, crd.Name)
		}
	}
	return missing
}

func waitDiscovered(ctx context.Context, client clientset.Interface, crds []*apiextensionsv1.CustomResourceDefinition) error {
	var missing []string
	err := wait.PollUntilContextCancel(ctx, establishPoll, true, func(context.Context) (bool, error) {
		_, lists, err := client.Discovery().ServerGroupsAndResources()
		if err != nil {
			return false, nil //nolint:nilerr // a group that is being added shows as a failed one; the deadline is the caller's
		}
		missing = notDiscovered(crds, lists)
		return len(missing) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for definitions to be discovered (missing: %v): %w", missing, err)
	}
	return nil
}

// notDiscovered are the served resources of the wanted definitions that discovery does not list.
func notDiscovered(wanted []*apiextensionsv1.CustomResourceDefinition, have []*metav1.APIResourceList) []string {
	discovered := sets.New[schema.GroupVersionResource]()
	for _, list := range have {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue // not one of ours: a name that cannot be parsed was never accepted by the server
		}
		for _, resource := range list.APIResources {
			discovered.Insert(version.WithResource(resource.Name))
		}
	}
	var missing []string
	for _, crd := range wanted {
		for _, version := range crd.Spec.Versions {
			resource := schema.GroupVersionResource{Group: crd.Spec.Group, Version: version.Name, Resource: crd.Spec.Names.Plural}
			if version.Served && !discovered.Has(resource) {
				missing = append(missing, resource.String())
			}
		}
	}
	return missing
}
