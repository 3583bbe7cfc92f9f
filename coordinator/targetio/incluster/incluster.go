// Package incluster keeps the document of a point of type Snapshot in a Secret of
// the point's namespace: draft and document as files by the paths that they would
// have on a target. The point owns the Secret, so that it goes with it.
//
// It knows nothing of what is in a document, and touches no Secret that does not
// carry the point's label and type.
package incluster

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"hayloft.dev/coordinator/targetio/cluster"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
)

// Type of the Secrets. A Secret's type cannot be changed once it exists.
const Type corev1.SecretType = "hayloft.dev/point"

// The keys of a Secret; each holds JSON, compressed with gzip.
const (
	keyDraft    = "draft.json.gz"
	keyDocument = "document.json.gz"
)

// Documents are the draft and the document of one point.
type Documents struct {
	api   *cluster.Client
	point protocol.ClusterPoint
	keys  map[string]string // path -> key
}

// Open prepares a point's documents; it does not connect yet.
func Open(api *cluster.Client, point protocol.ClusterPoint) (*Documents, error) {
	draft, err := document.DraftPath(point.UID)
	if err != nil {
		return nil, fault(protocol.Invalid, "%v", err)
	}
	whole, err := document.PointPath(point.Namespace, point.Name, point.UID)
	if err != nil {
		return nil, fault(protocol.Invalid, "%v", err)
	}
	return &Documents{api: api, point: point, keys: map[string]string{draft: keyDraft, whole: keyDocument}}, nil
}

// Read returns a whole file of at most limit bytes; store.ErrMissing when it is
// not there.
func (d *Documents) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	key, err := d.key(path)
	if err != nil {
		return nil, err
	}
	s, err := d.secret(ctx)
	if err != nil {
		return nil, err
	}
	if s == nil || s.Data[key] == nil {
		return nil, store.ErrMissing
	}
	return d.unpack(s.Data[key], limit)
}

// Write writes a file as a whole. The document takes the draft's place in the
// same step; a draft that comes after it is not needed any more.
func (d *Documents) Write(ctx context.Context, path string, data []byte) error {
	key, err := d.key(path)
	if err != nil {
		return err
	}
	packed, err := d.pack(data)
	if err != nil {
		return err
	}
	s, err := d.secret(ctx)
	switch {
	case err != nil:
		return err
	case s == nil:
		return d.create(ctx, map[string][]byte{key: packed})
	case key == keyDraft && s.Data[keyDocument] != nil:
		return nil
	}
	s.Data = map[string][]byte{key: packed}
	u, err := d.encode(s)
	if err != nil {
		return err
	}
	return d.api.Update(ctx, cluster.Secrets, u)
}

// Remove removes a file, and the Secret with it, since it holds one; a file that
// is not there is fine.
func (d *Documents) Remove(ctx context.Context, path string) error {
	key, err := d.key(path)
	if err != nil {
		return err
	}
	s, err := d.secret(ctx)
	if err != nil || s == nil || s.Data[key] == nil {
		return err
	}
	u, err := d.encode(s)
	if err != nil {
		return err
	}
	return d.api.Delete(ctx, cluster.Secrets, u)
}

func (d *Documents) key(path string) (string, error) {
	key, ok := d.keys[path]
	if !ok {
		return "", fault(protocol.Invalid, "%q is not a path of VMBackup %s/%s", path, d.point.Namespace, d.point.Name)
	}
	return key, nil
}

// secret is the point's Secret, nil when there is none. One of its name that was
// made for something else is an error.
func (d *Documents) secret(ctx context.Context) (*corev1.Secret, error) {
	s, err := d.api.Secret(ctx, d.point.Namespace, names.PointSecret(d.point.UID))
	if cluster.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if s.Type != Type || s.Labels[v1alpha1.LabelPoint] != string(d.point.UID) {
		return nil, fault(protocol.Mismatch, "Secret %s/%s exists and was not made for VMBackup %s: delete or rename it; it is not overwritten", s.Namespace, s.Name, d.point.Name)
	}
	return s, nil
}

func (d *Documents) create(ctx context.Context, data map[string][]byte) error {
	u, err := d.encode(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.point.Namespace, Name: names.PointSecret(d.point.UID),
			Labels: map[string]string{v1alpha1.LabelPoint: string(d.point.UID)},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "VMBackup", Name: d.point.Name, UID: d.point.UID,
			}},
		},
		Type: Type, Data: data,
	})
	if err != nil {
		return err
	}
	exists, err := d.api.Create(ctx, cluster.Secrets, u)
	if err == nil && exists {
		e := fault(protocol.Internal, "Secret %s/%s was made by somebody else at the same time", d.point.Namespace, u.GetName())
		e.Transient = true
		return e
	}
	return err
}

// encode is a Secret as it is sent. Its content stays out of the error.
func (d *Documents) encode(s *corev1.Secret) (*unstructured.Unstructured, error) {
	s.APIVersion, s.Kind = "v1", "Secret"
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(s)
	if err != nil {
		return nil, fault(protocol.Internal, "Secret %s/%s cannot be written", d.point.Namespace, s.Name)
	}
	return &unstructured.Unstructured{Object: content}, nil
}

// pack compresses a file, and refuses one that no Secret can hold.
func (d *Documents) pack(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("preparing to compress: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	if out.Len() > corev1.MaxSecretSize {
		return nil, fault(protocol.Invalid, "the VM's definition with its Secrets and ConfigMaps has %d bytes, %d compressed, more than the %d that a Secret in the cluster may hold: take a point of type Backup, or make what the VM refers to smaller",
			len(data), out.Len(), corev1.MaxSecretSize)
	}
	return out.Bytes(), nil
}

func (d *Documents) unpack(packed []byte, limit int64) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, d.damaged(err)
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, d.damaged(err)
	}
	if int64(len(data)) > limit {
		return nil, d.damaged(fmt.Errorf("it is larger than the %d bytes that it may have", limit))
	}
	return data, nil
}

func (d *Documents) damaged(err error) error {
	return fault(protocol.Damaged, "Secret %s/%s: %v", d.point.Namespace, names.PointSecret(d.point.UID), err)
}

func fault(reason protocol.Reason, format string, args ...any) *protocol.Error {
	return &protocol.Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
