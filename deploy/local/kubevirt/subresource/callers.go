package subresource

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// trustTimeout bounds the wait for what the API server publishes when it starts.
	trustTimeout = 30 * time.Second
	trustPoll    = 100 * time.Millisecond

	userHeader  = "X-Remote-User"
	groupHeader = "X-Remote-Group"
	extraPrefix = "X-Remote-Extra-"
)

// callers are those whose word about a user is believed: the cluster's API server when it forwards.
type callers struct {
	authority *x509.CertPool
	names     []string // common names; none: every certificate of the authority
}

// readCallers reads what the API server publishes for the API servers behind it.
func readCallers(ctx context.Context, c client.Client) (callers, error) {
	key := client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: "extension-apiserver-authentication"}
	var published corev1.ConfigMap
	err := wait.PollUntilContextTimeout(ctx, trustPoll, trustTimeout, true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, key, &published)
		return published.Data["requestheader-client-ca-file"] != "", client.IgnoreNotFound(err)
	})
	if err != nil {
		return callers{}, fmt.Errorf("reading whom to trust from configmap %s: %w", key, err)
	}
	trusted := callers{authority: x509.NewCertPool()}
	if !trusted.authority.AppendCertsFromPEM([]byte(published.Data["requestheader-client-ca-file"])) {
		return callers{}, fmt.Errorf("configmap %s: requestheader-client-ca-file has no certificate", key)
	}
	if err := json.Unmarshal([]byte(published.Data["requestheader-allowed-names"]), &trusted.names); err != nil {
		return callers{}, fmt.Errorf("configmap %s: requestheader-allowed-names: %w", key, err)
	}
	return trusted, nil
}

// isProxy tells whether a request comes from a trusted caller. Its certificate was verified when it connected.
func (c callers) isProxy(r *http.Request) bool {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return false
	}
	return len(c.names) == 0 || slices.Contains(c.names, r.TLS.PeerCertificates[0].Subject.CommonName)
}

// action does what is asked for. status is that of the answer, which has no body.
type action func(r *http.Request, namespace, name string) (status int, err error)

// authorized lets those do something who may. The cluster's API server has asked the same question before it forwarded;
// virt-api asks again, and so does this.
func (s *Server) authorized(resource, subresource string, do action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		namespace, name := r.PathValue("namespace"), r.PathValue("name")
		if !s.callers.isProxy(r) {
			http.Error(w, "request is not authenticated", http.StatusUnauthorized)
			return
		}
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: r.Header.Get(userHeader), Groups: r.Header.Values(groupHeader), Extra: extras(r.Header),
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: "update", Group: virt.SubresourceGroupName, Version: "v1",
				Resource: resource, Subresource: subresource, Name: name,
			},
		}}
		if err := s.client.Create(r.Context(), review); err != nil {
			writeError(w, fmt.Errorf("asking whether %s may: %w", review.Spec.User, err))
			return
		}
		if !review.Status.Allowed {
			http.Error(w, review.Status.Reason, http.StatusUnauthorized)
			return
		}
		status, err := do(r, namespace, name)
		s.log.Info("subresource", "resource", resource, "subresource", subresource, "namespace", namespace, "name", name,
			"user", review.Spec.User, "error", err)
		if err != nil {
			writeError(w, err)
			return
		}
		w.WriteHeader(status)
	}
}

func extras(header http.Header) map[string]authorizationv1.ExtraValue {
	extras := map[string]authorizationv1.ExtraValue{}
	for key, values := range header {
		escaped, ok := strings.CutPrefix(key, extraPrefix)
		if !ok {
			continue
		}
		name, err := url.PathUnescape(strings.ToLower(escaped))
		if err != nil {
			name = escaped
		}
		extras[name] = values
	}
	return extras
}

// writeError answers with the API's own form of an error. What is not one is an internal error.
func writeError(w http.ResponseWriter, err error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	body := status.Status()
	body.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	writeJSON(w, int(body.Code), body)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that went away is no error of ours
}
