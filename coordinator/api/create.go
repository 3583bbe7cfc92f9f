package api

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/api/identity"
	"hayloft.dev/coordinator/api/problem"
)

// annotationRequest on an object that a request with an Idempotency-Key made is
// a digest of that request, by which its repetition is known from another one.
const annotationRequest = "hayloft.dev/request-digest"

// Trigger is what requests that make an object have in common.
type Trigger struct {
	Namespaced
	IdempotencyKey string `header:"Idempotency-Key" minLength:"1" maxLength:"255" pattern:"^[\\x21-\\x7e]+$" doc:"Repeats of a request with the same key make one object. A key is the caller's own, in one namespace, for points and for restores, and counts for as long as its object is there."`
}

// made is the answer to a trigger.
type made[T any] struct {
	Status   int
	Location string `header:"Location"`
	Replayed string `header:"Idempotency-Replayed" doc:"true when an earlier request with this key made the object"`
	Body     T
}

// keyName is the name of the object that a caller's key stands for: the same in
// every coordinator and after every restart, so that of all requests with one key
// the API server takes one.
func keyName(caller, key string) string {
	sum := sha256.Sum256([]byte(caller + "\x00" + key))
	return "api-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]))
}

// digest of what was asked for, whatever the order of its fields was.
func digest(operation string, body any) (string, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("encoding a request: %w", err)
	}
	sum := sha256.Sum256(append([]byte(operation+"\x00"), data...))
	return hex.EncodeToString(sum[:]), nil
}

// maxName is the longest name of a point or restore.
const maxName = 63

// freshName is for requests without a name or key: sortable, as the command line
// makes them, and different for each request.
func freshName(base string, at time.Time) string {
	tail := at.UTC().Format("-20060102-150405-") + utilrand.String(4)
	if room := maxName - len(tail); len(base) > room {
		base = strings.TrimRight(base[:room], "-.")
	}
	return base + tail
}

// conflicts bounds how often a request is tried again whose object is gone as
// soon as it is looked for.
const conflicts = 3

// create makes an object for a request, or finds the one that an earlier request
// with the same key made. name is the one asked for, base what a fresh one is made
// from.
func create[O client.Object](ctx context.Context, s *service, t Trigger, name, base string, body any, o O) (out O, replayed bool, err error) {
	a := actOf(ctx)
	defer func() { a.name = o.GetName() }()
	o.SetNamespace(t.Namespace)
	if t.IdempotencyKey == "" {
		if o.SetName(name); name == "" {
			o.SetName(freshName(base, time.Now()))
		}
		return o, false, problem.FromCluster(s.Client.Create(ctx, o))
	}
	if name != "" {
		return o, false, problem.New(http.StatusUnprocessableEntity, problem.Invalid, fmt.Sprintf("name %q does not go with an Idempotency-Key, which gives the object its name: leave one of them out", name), "body.name")
	}
	caller, _ := identity.From(ctx)
	want, err := digest(a.operation, body)
	if err != nil {
		return o, false, err
	}
	o.SetName(keyName(caller.Name, t.IdempotencyKey))
	o.SetAnnotations(map[string]string{annotationRequest: want})
	for range conflicts {
		err = s.Client.Create(ctx, o)
		if !apierrors.IsAlreadyExists(err) {
			return o, false, problem.FromCluster(err)
		}
		found := o.DeepCopyObject().(O)
		err = s.Client.Get(ctx, client.ObjectKeyFromObject(o), found)
		if apierrors.IsNotFound(err) {
			continue // deleted in between, so the key is free again
		}
		if err != nil {
			return o, false, problem.FromCluster(err)
		}
		if found.GetAnnotations()[annotationRequest] != want {
			return o, false, problem.New(http.StatusConflict, problem.KeyReused, fmt.Sprintf("this Idempotency-Key was used for another request, which made %s: use a new key for a new request", found.GetName()), "header.Idempotency-Key")
		}
		a.replayed = true
		return found, true, nil
	}
	return o, false, problem.Later(http.StatusServiceUnavailable, problem.Unavailable, "the object of this Idempotency-Key comes and goes: try again", time.Second)
}

// answer to a trigger: 201 for the request that made the object, 200 for those
// that repeat it.
func answer[T any](replayed bool, location string, body T) *made[T] {
	out := &made[T]{Status: http.StatusCreated, Location: location, Body: body}
	if replayed {
		out.Status, out.Replayed = http.StatusOK, "true"
	}
	return out
}
