package document

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"hayloft.dev/pkg/words"
)

// Limits of a document, beside MaxBytes and maxDisks.
const (
	maxObjects = 256
	maxNotes   = 64
	maxNote    = 1024
	// maxObjectBytes is what etcd takes in one request unless it is told otherwise.
	maxObjectBytes = 1536 << 10
)

func (d *Document) validate(draft bool) error {
	if d.FormatVersion != FormatVersion && d.FormatVersion != FormatSealed {
		return fmt.Errorf("%w %d: this Hayloft writes versions %d and %d", ErrVersion, d.FormatVersion, FormatVersion, FormatSealed)
	}
	if err := d.checkSealed(); err != nil {
		return err
	}
	if d.Origin.MadeBy != "" {
		return fmt.Errorf("it says that %s made it, whose backups have files of their own", shown(d.Origin.MadeBy))
	}
	if err := d.checkOrigin(); err != nil {
		return err
	}
	if err := d.checkClaims(); err != nil {
		return err
	}
	if err := d.checkConfig(); err != nil {
		return err
	}
	if len(d.Notes) > maxNotes {
		return fmt.Errorf("it has %d notes, more than %d", len(d.Notes), maxNotes)
	}
	for _, n := range d.Notes {
		if len(n) > maxNote {
			return fmt.Errorf("a note is longer than %d bytes", maxNote)
		}
		if words.Clean(n, maxNote) != n {
			return fmt.Errorf("note %s holds what cannot be printed", shown(n))
		}
	}
	if draft {
		if len(d.Disks) > 0 || d.Consistency != "" {
			return errors.New("a draft has no disks and no consistency")
		}
		return nil
	}
	if d.Consistency == "" || len(validation.IsDNS1123Label(strings.ToLower(string(d.Consistency)))) > 0 {
		return fmt.Errorf("%s is not a consistency", shown(d.Consistency))
	}
	if d.Point.CutAt.IsZero() {
		return errors.New("it does not say when it was cut")
	}
	if err := d.checkDisks(); err != nil {
		return err
	}
	return d.checkOwn()
}

func (d *Document) checkOrigin() error {
	if err := checkPoint(d.Point.Namespace, d.Point.Name, d.Point.UID); err != nil {
		return err
	}
	if d.Origin.Namespace != d.Point.Namespace {
		return fmt.Errorf("its VM is of namespace %s and its point of %s", shown(d.Origin.Namespace), shown(d.Point.Namespace))
	}
	if !uidPattern.MatchString(string(d.Origin.ClusterUID)) {
		return fmt.Errorf("%s is not the UID of a cluster", shown(d.Origin.ClusterUID))
	}
	if !uidPattern.MatchString(string(d.Origin.VMUID)) {
		return fmt.Errorf("%s is not the UID of a VM", shown(d.Origin.VMUID))
	}
	if err := dnsName("VM", d.Origin.VM); err != nil {
		return err
	}
	return d.checkVM()
}

func (d *Document) checkVM() error {
	head, err := readHead(d.VM)
	if err != nil {
		return fmt.Errorf("its VM: %w", err)
	}
	if head.Kind != "VirtualMachine" || !strings.HasPrefix(head.APIVersion, "kubevirt.io/") {
		return fmt.Errorf("its VM is a %s %s", shown(head.APIVersion), shown(head.Kind))
	}
	if head.Metadata.Name != d.Origin.VM || head.Metadata.Namespace != d.Origin.Namespace || head.Metadata.UID != d.Origin.VMUID {
		return errors.New("its VM is not the one that its origin names")
	}
	_, err = d.VMObject() // which reads all of it: numbers beyond any, say
	return err
}

func (d *Document) checkClaims() error {
	if len(d.Claims) > maxObjects {
		return fmt.Errorf("it has %d claims, more than %d", len(d.Claims), maxObjects)
	}
	seen := map[string]bool{}
	for _, c := range d.Claims {
		if err := once(seen, "claim", c.Name); err != nil {
			return err
		}
		head, err := readHead(c.Object)
		if err != nil {
			return fmt.Errorf("its claim %s: %w", c.Name, err)
		}
		if head.Kind != "PersistentVolumeClaim" || head.APIVersion != "v1" {
			return fmt.Errorf("its claim %s is a %s %s", c.Name, shown(head.APIVersion), shown(head.Kind))
		}
		if head.Metadata.Name != c.Name || head.Metadata.Namespace != d.Origin.Namespace {
			return fmt.Errorf("its claim %s holds another object", c.Name)
		}
		if err := checkClaim(c.Object); err != nil {
			return fmt.Errorf("its claim %s: %w", c.Name, err)
		}
	}
	return nil
}

// checkClaim refuses a claim of which no claim can be made again: else that would be
// found out only when all disks are restored.
func checkClaim(raw json.RawMessage) error {
	var c corev1.PersistentVolumeClaim
	if err := utiljson.Unmarshal(raw, &c); err != nil {
		return fmt.Errorf("it is no PersistentVolumeClaim: %w", err)
	}
	if class := c.Spec.StorageClassName; class != nil && *class != "" {
		if err := dnsName("storage class", *class); err != nil {
			return err
		}
	}
	if mode := c.Spec.VolumeMode; mode != nil {
		if err := checkMode(*mode); err != nil {
			return err
		}
	}
	return checkModes(c.Spec.AccessModes)
}

func (d *Document) checkConfig() error {
	if len(d.Secrets) > maxObjects || len(d.ConfigMaps) > maxObjects {
		return fmt.Errorf("it has %d Secrets and %d ConfigMaps; of each, %d are allowed", len(d.Secrets), len(d.ConfigMaps), maxObjects)
	}
	seen := map[string]bool{}
	for _, s := range d.Secrets {
		if err := once(seen, "Secret", s.Name); err != nil {
			return err
		}
		if len(s.Type) > validation.DNS1123SubdomainMaxLength {
			return fmt.Errorf("its Secret %s has a type that is too long", s.Name)
		}
		if err := checkKeys("Secret "+s.Name, s.Data); err != nil {
			return err
		}
		if err := checkSize("Secret "+s.Name, s.Data, nil); err != nil {
			return err
		}
	}
	seen = map[string]bool{}
	for _, c := range d.ConfigMaps {
		if err := once(seen, "ConfigMap", c.Name); err != nil {
			return err
		}
		if err := checkKeys("ConfigMap "+c.Name, c.Data); err != nil {
			return err
		}
		if err := checkKeys("ConfigMap "+c.Name, c.BinaryData); err != nil {
			return err
		}
		if err := checkSize("ConfigMap "+c.Name, c.BinaryData, c.Data); err != nil {
			return err
		}
	}
	return nil
}

// head is what every Kubernetes object begins with.
type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string    `json:"name"`
		Namespace string    `json:"namespace"`
		UID       types.UID `json:"uid"`
		// Those of a claim or VM that is made again are made of these.
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
}

func readHead(raw json.RawMessage) (head, error) {
	var h head
	if len(raw) > maxObjectBytes {
		return h, fmt.Errorf("it could not be made: it has %d bytes, more than the %d that a cluster keeps of an object", len(raw), maxObjectBytes)
	}
	if err := utiljson.Unmarshal(raw, &h); err != nil {
		return h, fmt.Errorf("it is not an object: %w", err)
	}
	at := field.NewPath("metadata")
	wrong := append(metav1validation.ValidateLabels(h.Metadata.Labels, at.Child("labels")),
		apivalidation.ValidateAnnotations(h.Metadata.Annotations, at.Child("annotations"))...)
	if len(wrong) > 0 {
		return h, fmt.Errorf("it could not be made: %s", words.Clean(wrong[0].Error(), maxNote))
	}
	return h, nil
}

func dnsName(kind, name string) error {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return fmt.Errorf("%s is not a name of a %s", shown(name), kind)
	}
	return nil
}

// once checks a name and that it was not there before.
func once(seen map[string]bool, kind, name string) error {
	if err := dnsName(kind, name); err != nil {
		return err
	}
	if seen[name] {
		return fmt.Errorf("its %s %s is there twice", kind, name)
	}
	seen[name] = true
	return nil
}

// checkSize holds what no API server would take to Kubernetes' own limit.
func checkSize(of string, data map[string][]byte, text map[string]string) error {
	n := 0
	for _, v := range data {
		n += len(v)
	}
	for _, v := range text {
		n += len(v)
	}
	if n > corev1.MaxSecretSize {
		return fmt.Errorf("its %s has %d bytes, more than the %d that Kubernetes allows", of, n, corev1.MaxSecretSize)
	}
	return nil
}

// checkKeys holds keys to Kubernetes' own rule: they become file names.
func checkKeys[V any](of string, data map[string]V) error {
	for key := range data {
		if len(validation.IsConfigMapKey(key)) > 0 {
			return fmt.Errorf("its %s has the key %s, which is not one", of, shown(key))
		}
	}
	return nil
}
