package doctor

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hiccup is an API server whose webhook is late so many times; nil is what it says
// where that lets objects pass.
type hiccup struct {
	client.WithWatch
	late  int
	first error
}

func (h *hiccup) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}

func (h *hiccup) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

func (h *hiccup) Create(context.Context, client.Object, ...client.CreateOption) error {
	if h.late--; h.late >= 0 {
		return h.first
	}
	return errors.New(`admission webhook "vmbackups.hayloft.dev" denied the request: there is no such VM`)
}

func TestWebhookThatIsLateOnceAnswers(t *testing.T) {
	for _, first := range []error{nil, errors.New(`failed calling webhook "vmbackups.hayloft.dev": context deadline exceeded`)} {
		for late, findings := range []int{0, 0, 0, 1} {
			synctest.Test(t, func(t *testing.T) {
				f := healthy(t)
				f.Client = &hiccup{late: late, first: first}
				stands := f.Webhook
				f.admission(t.Context())
				f.Webhook = stands
				require.Len(t, webhook(f), findings, "late %d times", late)
			})
		}
	}
}
