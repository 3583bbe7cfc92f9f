package stack

import (
	"context"
	"fmt"
	"os"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apiCaller is the account that a person calls the HTTP API by, in the namespace default. Here it may do anything.
const apiCaller = "api-caller"

// API is how the coordinators' HTTP API is called.
type API struct {
	*Service
	URL       string `json:"url"`
	Authority string `json:"authority"` // path of a file: whom to trust
	Token     string `json:"token"`     // path of a file: an administrator's token
}

// startAPI stands in for the Service before the coordinators' HTTP API and makes an account that may call it.
func (u *up) startAPI(ctx context.Context, c client.Client) error {
	service, err := serveService(ctx, coordinators)
	if err != nil {
		return err
	}
	u.about.API = &API{Service: service, URL: "https://" + service.Address + "/api/v1", Authority: u.layout.apiAuthority(), Token: u.layout.apiToken()}
	subject := func(namespace, name string) []any {
		return []any{map[string]any{"kind": "ServiceAccount", "namespace": namespace, "name": name}}
	}
	role := func(name string) map[string]any {
		return map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
	}
	return apply(ctx, c,
		object("v1", "ServiceAccount", "default", apiCaller, nil),
		object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", apiCaller, map[string]any{
			"roleRef": role("cluster-admin"), "subjects": subject("default", apiCaller),
		}),
		object("rbac.authorization.k8s.io/v1", "RoleBinding", "default", "hayloft-api", map[string]any{
			"roleRef": role("hayloft-api-callers"), "subjects": subject(HayloftNamespace, "hayloft-coordinator"),
		}))
}

// writeAPI writes what a caller needs. The coordinators must be ready: they say whom to trust.
func (u *up) writeAPI(ctx context.Context) error {
	c, err := kubernetes.NewForConfig(u.config)
	if err != nil {
		return err
	}
	trusted, err := c.CoreV1().ConfigMaps(HayloftNamespace).Get(ctx, "hayloft-api-ca", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading whom callers of the HTTP API are to trust: %w", err)
	}
	seconds := int64(tokenLife / time.Second)
	token, err := c.CoreV1().ServiceAccounts("default").CreateToken(ctx, apiCaller, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("asking for a token of %s: %w", apiCaller, err)
	}
	if err := os.WriteFile(u.about.API.Authority, []byte(trusted.Data["ca.crt"]), 0o644); err != nil {
		return err
	}
	return os.WriteFile(u.about.API.Token, []byte(token.Status.Token), 0o600)
}

// howToCall is for people.
func (a *API) howToCall() string {
	if a == nil {
		return ""
	}
	return fmt.Sprintf("  API    curl --cacert %s -H \"Authorization: Bearer $(cat %s)\" %s/points\n", a.Authority, a.Token, a.URL)
}
