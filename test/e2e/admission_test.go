package e2e

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestAdmission: what Hayloft refuses, the API server says when it is asked for,
// through any coordinator, leading or not.
func TestAdmission(t *testing.T) {
	t.Parallel()
	s := admissionWorld(t)
	for name, r := range s.refusals() {
		t.Run(name, func(t *testing.T) {
			err := s.c.Create(t.Context(), r.object)
			require.Contains(t, denied(err), r.says, "%v", err)
		})
	}
	t.Run("name taken", func(t *testing.T) {
		for _, target := range []string{s.deaf.Name, ""} { // both types share names
			require.True(t, apierrors.IsAlreadyExists(s.c.Create(t.Context(), s.backupOf("ready", "nobody", target))))
		}
		again := s.restoreOf("first", "ready", func(r *v1alpha1.VMRestoreSpec) { r.NewVM = "vm" })
		require.True(t, apierrors.IsAlreadyExists(s.c.Create(t.Context(), again)), "a request that is repeated is not told of its own work")
	})
	t.Run("backup without target", func(t *testing.T) {
		b := s.backupOf("b", "vm", "")
		b.Spec.Type = v1alpha1.TypeBackup
		require.ErrorContains(t, s.c.Create(t.Context(), b), "spec.target is required for type Backup: name a BackupTarget")
	})
	t.Run("what is good is taken", func(t *testing.T) {
		require.NoError(t, s.c.Create(t.Context(), s.backupOf("good", "vm", s.Target), client.DryRunAll))
		require.NoError(t, s.c.Create(t.Context(), s.backupOf("good", "vm", ""), client.DryRunAll))
		for _, change := range []func(*v1alpha1.VMRestoreSpec){
			func(r *v1alpha1.VMRestoreSpec) { r.NewVM = "copy" },
			func(r *v1alpha1.VMRestoreSpec) { r.Replace = &v1alpha1.Replace{VM: "vm"} },
			func(r *v1alpha1.VMRestoreSpec) { r.DiskClaim = &v1alpha1.DiskClaim{Disk: "root", Claim: "c"} },
		} {
			r := s.restoreOf("good", "ready", change)
			require.NoError(t, s.c.Create(t.Context(), r, client.DryRunAll))
			require.Equal(t, v1alpha1.ImagesRecreate, r.Spec.Images, "filled in for whoever may create images")
		}
		without := s.restoreOf("good", "ready", func(r *v1alpha1.VMRestoreSpec) { r.NewVM, r.Images = "copy", v1alpha1.ImagesRequire })
		require.NoError(t, s.c.Create(t.Context(), without, client.DryRunAll))
		require.Equal(t, v1alpha1.ImagesRequire, without.Spec.Images)
	})
	t.Run("deleting a point that is read", func(t *testing.T) {
		b := s.backupOf("ready", "vm", "")
		require.Equal(t, "VMBackup ready is being read by VMRestore first: wait until that has ended, or delete it first", denied(s.c.Delete(t.Context(), b)))
		require.NoError(t, s.c.Delete(t.Context(), s.backupOf("of-lost", "vm", ""), client.DryRunAll), "another point")
	})
	t.Run("deleting a target in use", func(t *testing.T) {
		said := denied(s.c.Delete(t.Context(), s.deaf))
		require.Contains(t, said, "BackupTarget "+s.deaf.Name+" is in use by VMBackup "+s.ns+"/leaving (Deleting), VMBackup "+s.ns+"/unready (Pending)")
		require.Contains(t, said, "wait until that has ended, or delete it first")
	})
	t.Run("limits of a part of a byte", func(t *testing.T) {
		tenth := resource.MustParse("100m")
		q := &v1alpha1.SnapshotQuota{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "q"}, Spec: v1alpha1.SnapshotQuotaSpec{Limit: &tenth}}
		const says = "spec.limit: 100m is not a whole number of bytes: use a unit such as Mi or Gi"
		require.Equal(t, says, denied(s.c.Create(t.Context(), q)))
		good := resource.MustParse("100Mi")
		q.Spec.Limit = &good
		require.NoError(t, s.c.Create(t.Context(), q))
		q.Spec.Limit = &tenth
		require.Equal(t, says, denied(s.c.Update(t.Context(), q)))
	})
	t.Run("targets", func(t *testing.T) { targetsAtAdmission(s.forTest(t)) })
	t.Run("rules of targets", func(t *testing.T) { rulesOfTargets(s.forTest(t)) })
	t.Run("schedules", func(t *testing.T) { schedulesAtAdmission(s.forTest(t)) })
	t.Run("without coordinators", func(t *testing.T) { failsClosed(s.forTest(t)) }) // the last: it kills them
}

func (s *stage) forTest(t *testing.T) *stage {
	w, c := *s.world, *s
	w.t, w.ctx, c.world = t, t.Context(), &w
	return &c
}

// targetsAtAdmission: a target is tried out before it is taken. What may pass is
// only a warning.
func targetsAtAdmission(s *stage) {
	warnings := &said{}
	config := rest.CopyConfig(s.Config)
	config.WarningHandler = warnings
	c, err := client.New(config, client.Options{Scheme: s.c.Scheme()})
	require.NoError(s.t, err)
	secret := func(name, key string) string {
		o := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: harness.HayloftNamespace, Name: s.ns + "-" + name}}
		o.Data = map[string][]byte{"AWS_ACCESS_KEY_ID": []byte(s.S3.AccessKey), "AWS_SECRET_ACCESS_KEY": []byte(key)}
		s.mustMake(o)
		return o.Name
	}
	target := func(name, secret string, change func(*v1alpha1.S3Target)) *v1alpha1.BackupTarget {
		t := &v1alpha1.BackupTarget{}
		t.Name = s.ns + "-" + name
		t.Spec.S3, t.Spec.CredentialSecret = &v1alpha1.S3Target{Endpoint: s.S3.Endpoint, Insecure: true, Bucket: s.S3.Bucket, Region: s.S3.Region}, secret
		change(t.Spec.S3)
		return t
	}
	same := func(*v1alpha1.S3Target) {}
	right, wrong := secret("right", s.S3.SecretKey), secret("wrong", "not-the-key")

	require.Contains(s.t, denied(c.Create(s.ctx, target("key", wrong, same))), "target "+s.ns+"-key is not ready: InvalidCredentials")
	require.Contains(s.t, denied(c.Create(s.ctx, target("secret", s.ns+"-none", same))), s.ns+"-none")
	require.Contains(s.t, denied(c.Create(s.ctx, target("bucket", right, func(t *v1alpha1.S3Target) { t.Bucket = "nowhere" }))), "create the bucket, or correct spec.s3.bucket")
	require.NoError(s.t, c.Create(s.ctx, target("dry", wrong, same), client.DryRunAll), "a dry run writes nothing to a target")
	require.NotContains(s.t, warnings.all(), "is not ready yet")

	away := target("away", right, func(t *v1alpha1.S3Target) { t.Endpoint = closedEndpoint(s.t) })
	require.NoError(s.t, c.Create(s.ctx, away), "its service may be away")
	require.Contains(s.t, warnings.all(), "BackupTarget "+away.Name+" is not ready yet")

	good := target("good", right, same)
	require.NoError(s.t, c.Create(s.ctx, good))
	good.Spec.S3.Bucket = "nowhere"
	require.Contains(s.t, denied(c.Update(s.ctx, good)), "create the bucket, or correct spec.s3.bucket")
	require.NoError(s.t, c.Get(s.ctx, client.ObjectKeyFromObject(s.deaf), s.deaf))
	s.deaf.Spec.Threads = 4
	require.NoError(s.t, c.Update(s.ctx, s.deaf), "what does not concern its reach is not tried out, and points on it may be unfinished")
	for _, t := range []*v1alpha1.BackupTarget{away, good} {
		require.NoError(s.t, c.Delete(s.ctx, t), "nothing is on it")
	}
}

// said keeps the warnings of an API server.
type said struct {
	mu   sync.Mutex
	text string
}

func (s *said) HandleWarningHeader(_ int, _, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += text + "\n"
}

func (s *said) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

// failsClosed: with one coordinator all is as before; without any, Hayloft's own
// kinds are refused, nothing else is, and namespaces come to their end.
func failsClosed(s *stage) {
	s.coordinators[0].Kill(s.t)
	r := s.refusals()["backup of no VM"]
	s.eventually("the other coordinator to be asked", func() (bool, string) {
		err := s.c.Create(s.ctx, r.object)
		return strings.Contains(denied(err), r.says), words(err)
	})
	s.coordinators[1].Kill(s.t)
	err := s.c.Create(s.ctx, s.backupOf("closed", "vm", s.Target))
	require.ErrorContains(s.t, err, "failed calling webhook")
	elsewhere := s.backupOf("snap-there", "vm", "")
	elsewhere.Namespace = s.other
	require.ErrorContains(s.t, s.c.Delete(s.ctx, elsewhere), "failed calling webhook")
	s.claim("unconcerned", 16*mib)

	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.other}}
	s.mustRemove(namespace)
	require.True(s.t, apierrors.IsNotFound(s.c.Get(s.ctx, client.ObjectKeyFromObject(elsewhere), elsewhere)))
}

// TestRefusedWithoutWebhook: where no webhook is, the planner refuses the same,
// with the same sentences.
func TestRefusedWithoutWebhook(t *testing.T) {
	t.Parallel()
	w := bare(t, newStack(t))
	s := setStage(w)
	w.startCoordinator("coordinator-1", harness.ProgramOptions{})
	w.eventually("the first restore to be begun", func() (bool, string) {
		var first v1alpha1.VMRestore
		require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "first"}, &first))
		return first.Status.StartedAt != nil, words(first.Status)
	})
	all := s.refusals()
	for _, r := range all {
		w.mustMake(r.object)
	}
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			s := s.forTest(t)
			var conditions []metav1.Condition
			s.eventually(r.object.GetName()+" to be refused", func() (bool, string) {
				require.NoError(t, s.c.Get(s.ctx, client.ObjectKeyFromObject(r.object), r.object))
				switch o := r.object.(type) {
				case *v1alpha1.VMBackup:
					conditions = o.Status.Conditions
				case *v1alpha1.VMRestore:
					conditions = o.Status.Conditions
				}
				return meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionReady), words(conditions)
			})
			require.Contains(t, meta.FindStatusCondition(conditions, v1alpha1.ConditionReady).Message, r.says)
		})
	}
	t.Run("deleting a point that is read", func(t *testing.T) {
		s := s.forTest(t)
		require.NoError(t, s.c.Delete(s.ctx, s.backupOf("ready", "vm", "")))
		s.awaitDeletionWaits("ready", "this point is being read by VMRestore first")
	})
}

// readyz asks a coordinator whether it is ready.
func readyz(url string) (bool, string) {
	response, err := http.Get(url + "/readyz")
	if err != nil {
		return false, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return err == nil && response.StatusCode == http.StatusOK, string(body)
}
