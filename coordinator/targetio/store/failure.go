package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go/aws/awserr"
	"github.com/aws/aws-sdk-go/aws/request"
	"github.com/aws/aws-sdk-go/service/s3"

	"hayloft.dev/coordinator/targetio/protocol"
)

// verdict is what an S3 error code means for a user.
type verdict struct {
	reason    protocol.Reason
	transient bool
	// advice follows the service's own words.
	advice string
}

// verdictOf tells codes that services agree on; those of MinIO and versitygw
// for a full disk are among them. ok is false for any other.
func verdictOf(code string) (v verdict, ok bool) {
	switch code {
	case "SignatureDoesNotMatch":
		return verdict{protocol.InvalidCredentials, false, "AWS_SECRET_ACCESS_KEY in the target's Secret does not fit its key ID: correct it"}, true
	case "InvalidAccessKeyId", "InvalidToken", "ExpiredToken", "XAdminUserNotFound":
		return verdict{protocol.InvalidCredentials, false, "the service does not know AWS_ACCESS_KEY_ID of the target's Secret: correct it"}, true
	case "AccessDenied", "AllAccessDisabled", "Forbidden", "AccountProblem":
		return verdict{protocol.AccessDenied, false, "give the key the right to list, read, write and delete in the bucket"}, true
	case s3.ErrCodeNoSuchBucket:
		return verdict{protocol.BucketNotFound, false, "create the bucket, or correct spec.s3.bucket"}, true
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "InsufficientCapacity":
		return verdict{protocol.NoSpace, false, "free space on the target or delete points"}, true
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "BucketRegionError", "IllegalLocationConstraintException":
		return verdict{protocol.Invalid, false, "correct spec.s3.region and spec.s3.endpoint"}, true
	case "InvalidBucketName":
		return verdict{protocol.Invalid, false, "correct spec.s3.bucket"}, true
	case "RequestTimeTooSkewed":
		return verdict{protocol.Invalid, true, "set the clocks of the coordinator's node and of the service right"}, true
	}
	return verdict{}, false
}

// call is what was asked of a service, for a sentence about its failure.
type call struct {
	action, where string
	// field of the target's spec that the service is described in.
	field string
	// sent may be nil.
	sent *transport
}

// fail puts an error of the SDK into a sentence with its reason.
func (b *bucket) fail(ctx context.Context, action string, err error) error {
	c := call{action: action, where: fmt.Sprintf("bucket %s at %s", b.name, b.endpoint), field: "spec.s3", sent: b.sent}
	var coded awserr.Error
	if !errors.As(err, &coded) {
		return connectionError(ctx, c, err)
	}
	if v, ok := verdictOf(coded.Code()); ok {
		return &protocol.Error{Reason: v.reason, Transient: v.transient, Message: fmt.Sprintf(
			"%s in %s: %s: %s", action, c.where, said(coded), v.advice)}
	}
	if coded.Code() == request.ErrCodeSerialization && (ctx.Err() != nil || cutOff(coded.OrigErr())) {
		// The status alone says that all is well.
		return connectionError(ctx, c, coded.OrigErr())
	}
	var answer awserr.RequestFailure
	if errors.As(err, &answer) {
		return answered(c, answer.StatusCode(), said(answer))
	}
	if inner := coded.OrigErr(); inner != nil {
		return connectionError(ctx, c, inner)
	}
	return connectionError(ctx, c, err)
}

// cutOff tells an answer that did not come to its end from one that makes no sense.
func cutOff(err error) bool {
	var network net.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)
}

// answered judges an answer by its HTTP status, when its code says nothing.
func answered(c call, status int, said string) error {
	e := &protocol.Error{Message: fmt.Sprintf("%s in %s: HTTP status %d, %s", c.action, c.where, status, said)}
	switch {
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		e.Reason = protocol.AccessDenied
		e.Message += ": give the key the right to list, read, write and delete there"
	case status == http.StatusInsufficientStorage:
		e.Reason = protocol.NoSpace
		e.Message += ": free space on the target or delete points"
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		e.Reason, e.Transient = protocol.Unreachable, true
		e.Message += ": the service has trouble; look at its logs"
	default:
		e.Reason = protocol.Invalid
		e.Message += fmt.Sprintf(": does %s.endpoint name such a service, by the right scheme?", c.field)
	}
	return e
}

// connectionError judges a request that got no usable answer.
func connectionError(ctx context.Context, c call, err error) error {
	e := &protocol.Error{Reason: protocol.Unreachable, Transient: true, Message: fmt.Sprintf("%s in %s: %v", c.action, c.where, err)}
	var (
		dns       *net.DNSError
		timeout   net.Error
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
	)
	switch {
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		e.Reason = protocol.Timeout
		waited := ""
		if c.sent != nil {
			waited = " (" + c.sent.during() + ")"
		}
		e.Message = fmt.Sprintf("%s in %s: it gave no answer in the time allowed%s: is it overloaded, or something else than such a service?", c.action, c.where, waited)
	case errors.As(err, &dns):
		e.Message += fmt.Sprintf(": correct the host of %s.endpoint, or the cluster's DNS", c.field)
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Message += fmt.Sprintf(": nothing listens there: start the service, or correct %s.endpoint", c.field)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.Transient = false
		e.Message += shown(err) + ": renew the service's certificate, or set the clock of the coordinator's node right"
	case errors.As(err, &host):
		e.Transient = false
		e.Message += shown(err) + fmt.Sprintf(": use one of these names in %s.endpoint, or give the service a certificate for its host", c.field)
	case errors.As(err, &authority), errors.As(err, &invalid), errors.As(err, &verify):
		e.Transient = false
		e.Message += shown(err) + fmt.Sprintf(": put the CA of the service's certificate into %[1]s.caBundle, or correct the host of %[1]s.endpoint", c.field)
	case errors.As(err, &record), strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		e.Transient = false
		e.Message += fmt.Sprintf(": the service does not speak TLS there: use http:// in %[1]s.endpoint, with %[1]s.insecure", c.field)
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Reason = protocol.Timeout
		e.Message += fmt.Sprintf(": no connection in time: correct %s.endpoint, or let the coordinator through to it", c.field)
	}
	return e
}

// shown describes the certificate that the service showed, if an error of TLS
// has one; empty otherwise.
func shown(err error) string {
	var verify *tls.CertificateVerificationError
	if !errors.As(err, &verify) || len(verify.UnverifiedCertificates) == 0 {
		return ""
	}
	cert := verify.UnverifiedCertificates[0]
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = []string{"no host"}
	}
	if more := len(names) - namesShown; more > 0 {
		names = append(names[:namesShown:namesShown], fmt.Sprintf("%d more", more))
	}
	issuer := ""
	if who := cert.Issuer.String(); who != "" {
		issuer = fmt.Sprintf(", issued by %q", who)
	}
	return fmt.Sprintf(" (its certificate is for %s%s, valid from %s to %s)", strings.Join(names, ", "), issuer,
		cert.NotBefore.UTC().Format(time.DateOnly), cert.NotAfter.UTC().Format(time.DateOnly))
}

// namesShown bounds the names of a certificate in a sentence.
const namesShown = 5

// said is what the service said, without the SDK's line breaks and nested
// causes.
func said(err awserr.Error) string {
	if m := err.Message(); m != "" && m != err.Code() {
		return err.Code() + ", " + m
	}
	return err.Code()
}

// isMissing tells the answer that one key is not there. A HEAD has no body, so
// a missing bucket looks the same; every operation lists or reads too, which
// tells the two apart.
func isMissing(err error) bool {
	var coded awserr.Error
	return errors.As(err, &coded) && (coded.Code() == s3.ErrCodeNoSuchKey || coded.Code() == "NotFound")
}
