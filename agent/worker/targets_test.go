package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

// keyed is one S3 target with a key that changes.
type keyed struct {
	client.Reader
	key   string
	reads int
}

func (k *keyed) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	switch o := o.(type) {
	case *v1alpha1.BackupTarget:
		k.reads++
		o.Spec.S3, o.Spec.CredentialSecret = &v1alpha1.S3Target{Bucket: "b", Region: "r"}, "keys"
	case *corev1.Secret:
		o.Data = map[string][]byte{target.AccessKeyID: []byte("id"), target.SecretAccessKey: []byte(k.key)}
	}
	return nil
}

// The disks of one VM share a reading; a job that was made after it does not.
func TestTargetsAreReadForEachPoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := &keyed{key: "first"}
		targets := &Targets{Client: reader}
		key := func(made time.Time) string {
			r, err := targets.Resolve(t.Context(), "s3", made)
			require.NoError(t, err)
			return r.Credential[target.SecretAccessKey]
		}
		made := time.Now()
		time.Sleep(time.Second)
		require.Equal(t, "first", key(made))
		reader.key = "second"
		time.Sleep(time.Second)
		require.Equal(t, "first", key(made))
		require.Equal(t, 1, reader.reads)
		require.Equal(t, "second", key(time.Now()), "the key was changed before the job was made")
		targets.Forget("s3")
		reader.key = "third"
		require.Equal(t, "third", key(made))
		time.Sleep(targetAge)
		reader.key = "fourth"
		require.Equal(t, "fourth", key(made))
	})
}
