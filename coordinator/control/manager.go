package control

import (
	"context"
	"fmt"
	"reflect"
	"time"
	"unique"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"hayloft.dev/coordinator/paged"
	"hayloft.dev/coordinator/points"
	"hayloft.dev/coordinator/shares"
	"hayloft.dev/coordinator/volumes"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Election are the bounds of leader election.
type Election struct {
	// Identity of this process among the coordinators.
	Identity               string
	Duration, Renew, Retry time.Duration
}

// leaderLease is the Lease that the leading coordinator holds.
const leaderLease = "coordinator"

// Scheme holds the types that the coordinator works with.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, longhorn.AddToScheme} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	return s, nil
}

// ManagerOptions are for the manager that Setup is given. Jobs and Leases are
// cached of Hayloft's namespace only, Longhorn's objects of Longhorn's only;
// Secrets and ConfigMaps are never cached, and of VMs only that they exist.
func ManagerOptions(scheme *runtime.Scheme, o Options, e Election) ctrl.Options {
	own := map[string]cache.Config{o.Namespace: {}}
	theirs := map[string]cache.Config{o.LonghornNamespace: {}}
	// The same, for caches of which the store is read, as those of several namespaces have
	// none: only this namespace is asked for.
	there := fields.OneTermEqualSelector("metadata.namespace", o.LonghornNamespace)
	sizes := newAmounts()
	kinds := map[client.Object]cache.ByObject{
		&v1alpha1.VMBackup{}:            {Transform: points.NewPacker().Transform},
		&v1alpha1.VMSchedule{}:          {Transform: shareSchedule},
		&v1alpha1.NodeJob{}:             {Namespaces: own},
		&corev1.Pod{}:                   {Namespaces: map[string]cache.Config{o.Namespace: {LabelSelector: ofShares}}},
		&coordinationv1.Lease{}:         {Namespaces: own},
		&longhorn.Volume{}:              {Field: there, Transform: volumes.KeepVolume},
		&longhorn.VolumeAttachment{}:    {Namespaces: theirs, Transform: stripAttachment},
		&longhorn.Snapshot{}:            {Field: there, Transform: volumes.KeepSnapshot},
		&longhorn.Backup{}:              {Namespaces: theirs, Transform: stripBackup},
		virtualMachines():               {Transform: stripMetadata},
		&corev1.PersistentVolume{}:      {Transform: volumes.KeepPersistent},
		&corev1.PersistentVolumeClaim{}: {Transform: sizes.claim},
	}
	return ctrl.Options{
		Scheme:         scheme,
		MapperProvider: newMapper,
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject:         kinds,
			NewInformer:      paged.Informer(func(o runtime.Object) toolscache.TransformFunc { return transformOf(kinds, o) }),
		},
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{
			&corev1.Secret{}, &corev1.ConfigMap{}, &storagev1.StorageClass{}, &longhorn.BackingImage{}, &longhorn.Replica{},
		}}},
		Metrics:                metricsserver.Options{BindAddress: "0"}, // served with everything else, see Serve
		HealthProbeBindAddress: "0",
		// Names must be unique for controller-runtime's own metrics only; a
		// process may run several managers one after the other.
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},

		LeaderElection:                e.Duration > 0,
		LeaderElectionID:              leaderLease,
		LeaderElectionNamespace:       o.Namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &e.Duration,
		RenewDeadline:                 &e.Renew,
		RetryPeriod:                   &e.Retry,
	}
}

// transformOf is what the cache of a kind keeps of its objects; nil: no more is said
// of it than of any.
func transformOf(kinds map[client.Object]cache.ByObject, o runtime.Object) toolscache.TransformFunc {
	for like, kind := range kinds {
		_, metadata := like.(*metav1.PartialObjectMetadata) // of any kind
		if reflect.TypeOf(like) == reflect.TypeOf(o) && (!metadata || like.GetObjectKind().GroupVersionKind() == o.GetObjectKind().GroupVersionKind()) {
			return kind.Transform
		}
	}
	return nil
}

// ofShares picks the Pods of shares.
var ofShares = labels.SelectorFromSet(labels.Set{"app.kubernetes.io/component": shares.Component})

func stripAttachment(o any) (any, error) {
	if a, ok := o.(*longhorn.VolumeAttachment); ok {
		bare(a)
		a.Status = longhorn.VolumeAttachmentStatus{}
	}
	return o, nil
}

// stripBackup keeps of a backup of Longhorn's own of which volume it is, and
// whether it is being made. There may be one of each backup on each target.
func stripBackup(o any) (any, error) {
	b, ok := o.(*longhorn.Backup)
	if !ok {
		return o, nil
	}
	slim := &longhorn.Backup{ObjectMeta: identity(b)}
	slim.Status.VolumeName, slim.Status.State = backedUpVolume(b), b.Status.State
	return slim, nil
}

// stripMetadata keeps of an object that it exists, whether it is to go, and whether it
// is meant to be protected.
func stripMetadata(o any) (any, error) {
	if m, ok := o.(*metav1.PartialObjectMetadata); ok {
		slim := identity(m)
		slim.DeletionTimestamp = m.DeletionTimestamp
		if v, set := m.Labels[v1alpha1.LabelProtection]; set {
			slim.Labels = map[string]string{v1alpha1.LabelProtection: v}
		}
		m.ObjectMeta = slim
	}
	return o, nil
}

func identity(o metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()}
}

// virtualMachines are the VMs by their metadata only.
func virtualMachines() *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(kindVM)
	return o
}

// shareSchedule shares among schedules the texts that many of them have.
func shareSchedule(o any) (any, error) {
	s, ok := o.(*v1alpha1.VMSchedule)
	if !ok {
		return o, nil
	}
	s.ManagedFields = nil
	texts := []*string{&s.Namespace, &s.Spec.Cron, &s.Spec.TimeZone, &s.Spec.Target, (*string)(&s.Spec.Type), (*string)(&s.Spec.DeletionPolicy)}
	if at := s.Status.Timetable; at != nil {
		texts = append(texts, &at.Cron, &at.TimeZone)
	}
	for i := range s.Status.Conditions {
		c := &s.Status.Conditions[i]
		texts = append(texts, &c.Type, &c.Reason, &c.Message)
	}
	for _, text := range texts {
		*text = one(*text)
	}
	return s, nil
}

// one is a string equal to s that all share who ask for it.
func one(s string) string {
	if s == "" {
		return ""
	}
	return unique.Make(s).Value()
}

func bare(o metav1.Object) {
	o.SetManagedFields(nil)
	o.SetAnnotations(nil)
}

// Indexes of the caches.
const (
	indexUID   = "hayloft.uid"   // VMRestore by its UID
	indexOwner = "hayloft.owner" // NodeJob by its owner's UID
	indexPoint = "hayloft.point" // VMRestore by the VMBackup that it restores
	indexBusy  = "hayloft.busy"  // Longhorn's Backup by its volume, while it is being made
	// VMSchedule by the target for which it waits to go on by itself.
	indexResumes = "hayloft.resumes"
)

func addIndexes(ctx context.Context, ix client.FieldIndexer) error {
	for _, i := range []struct {
		of    client.Object
		name  string
		value func(client.Object) string
	}{
		{&v1alpha1.VMRestore{}, indexUID, func(o client.Object) string { return string(o.GetUID()) }},
		{&longhorn.Backup{}, indexBusy, inTheMaking},
		{&v1alpha1.VMSchedule{}, indexResumes, resumesOn},
		{&v1alpha1.NodeJob{}, indexOwner, func(o client.Object) string { return string(o.(*v1alpha1.NodeJob).Spec.Owner.UID) }},
		{&v1alpha1.VMRestore{}, indexPoint, func(o client.Object) string { return o.(*v1alpha1.VMRestore).Spec.Backup }},
	} {
		values := func(o client.Object) []string {
			if v := i.value(o); v != "" {
				return []string{v}
			}
			return nil
		}
		if err := ix.IndexField(ctx, i.of, i.name, values); err != nil {
			return fmt.Errorf("adding index %s: %w", i.name, err)
		}
	}
	return nil
}

// NewManager makes a manager for Setup.
func NewManager(rc *rest.Config, o Options, e Election) (ctrl.Manager, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	options := ManagerOptions(scheme, o, e)
	var held *lock
	if options.LeaderElection {
		// controller-runtime makes up an identity; ours is in the logs.
		leases, err := coordinationclient.NewForConfig(rc)
		if err != nil {
			return nil, fmt.Errorf("making a client for leader election: %w", err)
		}
		held = newLock(&resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: o.Namespace, Name: leaderLease},
			Client:     leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: e.Identity},
		})
		options.LeaderElectionResourceLockInterface = held
	}
	mgr, err := ctrl.NewManager(rc, options)
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	if held != nil {
		if err := mgr.Add(held); err != nil {
			return nil, fmt.Errorf("watching who leads: %w", err)
		}
	}
	return mgr, nil
}
