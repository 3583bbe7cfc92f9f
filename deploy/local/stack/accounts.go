package stack

import (
	"context"
	"fmt"
	"os"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// tokenLife is how long the programs' tokens are good for; nothing here renews them as a kubelet would.
const tokenLife = 30 * 24 * time.Hour

// accounts are the service accounts of Hayloft's programs, as deploy/rbac has them. The target worker is a child of
// the coordinator and has its account.
func accounts() map[string]string { // program -> service account
	return map[string]string{
		"agent":       "hayloft-agent",
		"coordinator": "hayloft-coordinator",
		"targetio":    "hayloft-coordinator",
	}
}

// agentOf is the key of an agent's kubeconfig: each node's is another, as a pod's token names its node.
func agentOf(node string) string { return "agent-" + node }

// writeAccounts writes a kubeconfig with a token for each program, and returns program -> path. The nodes must exist.
func writeAccounts(ctx context.Context, config *rest.Config, nodes []Node, l layout) (map[string]string, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(l.accounts(), 0o700); err != nil {
		return nil, err
	}
	paths := map[string]string{}
	write := func(key, account string, bound *authenticationv1.BoundObjectReference) error {
		seconds := int64(tokenLife / time.Second)
		token, err := client.CoreV1().ServiceAccounts(HayloftNamespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds, BoundObjectRef: bound},
		}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("asking for a token of %s: %w", account, err)
		}
		paths[key] = l.account(key)
		if err := writeTokenKubeconfig(paths[key], config, account, token.Status.Token); err != nil {
			return fmt.Errorf("writing the kubeconfig of %s: %w", key, err)
		}
		return nil
	}
	for program, account := range accounts() {
		if err := ensureAccount(ctx, client, account); err != nil {
			return nil, err
		}
		if program != "agent" {
			if err := write(program, account, nil); err != nil {
				return nil, err
			}
			continue
		}
		for _, n := range nodes {
			node, err := client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
			if err != nil {
				return nil, fmt.Errorf("asking for a token of %s: %w", account, err)
			}
			// There are no pods here, so the token is bound to the node itself: the API server puts the same claim into it.
			bound := &authenticationv1.BoundObjectReference{Kind: "Node", APIVersion: "v1", Name: node.Name, UID: node.UID}
			if err := write(agentOf(n.Name), account, bound); err != nil {
				return nil, err
			}
		}
	}
	return paths, nil
}

// ensureAccount makes a service account that the manifests do not have. Without their roles it may do nothing.
func ensureAccount(ctx context.Context, client kubernetes.Interface, name string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := client.CoreV1().ServiceAccounts(HayloftNamespace).Create(ctx, account, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making service account %s: %w", name, err)
	}
	return nil
}

func writeTokenKubeconfig(path string, config *rest.Config, user, token string) error {
	c := clientcmdapi.NewConfig()
	c.Clusters["local"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	c.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token}
	c.Contexts["local"] = &clientcmdapi.Context{Cluster: "local", AuthInfo: user, Namespace: HayloftNamespace}
	c.CurrentContext = "local"
	return clientcmd.WriteToFile(*c, path)
}
