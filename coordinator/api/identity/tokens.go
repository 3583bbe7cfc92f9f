package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
)

// How long an answer counts, and how many are kept: so long a token that was
// revoked is still taken.
const (
	goodCounts    = 10 * time.Second
	badCounts     = 5 * time.Second
	tokensKept    = 4096
	reviewsAtOnce = 16
	reviewTimeout = 10 * time.Second
)

// longestToken is beyond what issuers make; the API server takes no header that
// is much longer.
const longestToken = 16 << 10

// Reviewer asks the cluster about tokens; client-go's TokenReviews is one.
type Reviewer interface {
	Create(ctx context.Context, r *authenticationv1.TokenReview, o metav1.CreateOptions) (*authenticationv1.TokenReview, error)
}

// Tokens has the cluster say whose a token is, and remembers it for a moment.
// Tokens themselves are not kept, only keyed digests of them.
type Tokens struct {
	reviewer Reviewer
	audience string
	salt     []byte
	known    *cache.LRUExpireCache
	flight   singleflight.Group
	slots    chan struct{}
}

// NewTokens reviews tokens that were issued for an audience; "": for the API
// server.
func NewTokens(r Reviewer, audience string) *Tokens {
	return newTokens(r, audience, cache.NewLRUExpireCache(tokensKept))
}

func newTokens(r Reviewer, audience string, known *cache.LRUExpireCache) *Tokens {
	salt := make([]byte, sha256.Size)
	_, _ = rand.Read(salt) // never fails
	return &Tokens{reviewer: r, audience: audience, salt: salt, known: known, slots: make(chan struct{}, reviewsAtOnce)}
}

// answer is what the cluster said of a token.
type answer struct {
	caller Caller
	err    error // ErrRejected or nil
}

// Known is the answer to a token that was reviewed a moment ago.
func (t *Tokens) Known(token string) bool {
	_, ok := t.known.Get(t.digest(token))
	return ok
}

// Review says whose a token is. Requests with the same token wait for one
// question.
func (t *Tokens) Review(ctx context.Context, token string) (Caller, error) {
	if len(token) > longestToken {
		return Caller{}, ErrRejected
	}
	digest := t.digest(token)
	if a, ok := t.known.Get(digest); ok {
		return a.(answer).caller, a.(answer).err
	}
	ch := t.flight.DoChan(digest, func() (any, error) {
		a, err := t.ask(context.WithoutCancel(ctx), token)
		if err != nil {
			return nil, err
		}
		counts := goodCounts
		if a.err != nil {
			counts = badCounts
		}
		t.known.Add(digest, a, counts)
		return a, nil
	})
	select {
	case <-ctx.Done():
		return Caller{}, fmt.Errorf("waiting for the cluster to review a token: %w", ctx.Err())
	case r := <-ch:
		if r.Err != nil {
			return Caller{}, r.Err
		}
		return r.Val.(answer).caller, r.Val.(answer).err
	}
}

func (t *Tokens) ask(ctx context.Context, token string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return answer{}, errors.New("reviewing a token: too many are reviewed already")
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if t.audience != "" {
		review.Spec.Audiences = []string{t.audience}
	}
	review, err := t.reviewer.Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return answer{}, fmt.Errorf("reviewing a token: %w", err)
	}
	s := review.Status
	// An authenticator that knows of no audiences answers without any: what it
	// accepts was not issued for us alone.
	if !s.Authenticated || s.User.Username == "" || t.audience != "" && !slices.Contains(s.Audiences, t.audience) {
		return answer{err: ErrRejected}, nil
	}
	return answer{caller: Caller{Name: s.User.Username, Groups: s.User.Groups}}, nil
}

// digest is keyed, so that what is in memory says nothing of a token.
func (t *Tokens) digest(token string) string {
	mac := hmac.New(sha256.New, t.salt)
	mac.Write([]byte(token))
	return string(mac.Sum(nil))
}
