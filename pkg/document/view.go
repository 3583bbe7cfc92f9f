package document

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Public is the document without the values of its Secrets, encrypted or not;
// their names and keys stay. Its Digest is still that of the whole document.
func (d *Document) Public() *Document {
	c := *d
	c.Sealed = nil
	c.Secrets = make([]Secret, 0, len(d.Secrets))
	for _, s := range d.Secrets {
		keys := make(map[string][]byte, len(s.Data))
		for k := range s.Data {
			keys[k] = nil
		}
		s.Data = keys
		c.Secrets = append(c.Secrets, s)
	}
	return &c
}

// VMObject is the VirtualMachine with all its fields.
func (d *Document) VMObject() (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(d.VM); err != nil {
		return nil, fmt.Errorf("reading the VM of the document: %w", err)
	}
	return u, nil
}

// PVCs are the document's claims by name.
func (d *Document) PVCs() (map[string]*corev1.PersistentVolumeClaim, error) {
	out := make(map[string]*corev1.PersistentVolumeClaim, len(d.Claims))
	for _, c := range d.Claims {
		pvc := &corev1.PersistentVolumeClaim{}
		if err := utiljson.Unmarshal(c.Object, pvc); err != nil {
			return nil, fmt.Errorf("reading claim %s of the document: %w", c.Name, err)
		}
		out[c.Name] = pvc
	}
	return out, nil
}
