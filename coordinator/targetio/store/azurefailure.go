package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"hayloft.dev/coordinator/targetio/protocol"
)

// azureVerdict tells what Azure's error codes mean for a user. A clock that is
// wrong gives the same code as a wrong key.
func azureVerdict(code bloberror.Code) (v verdict, ok bool) {
	switch code {
	case bloberror.AuthenticationFailed, bloberror.InvalidAuthenticationInfo:
		return verdict{protocol.InvalidCredentials, false, "correct AZBLOB_ACCOUNT_KEY in the target's Secret, and see that the clock of the coordinator's node is right"}, true
	case bloberror.AccountIsDisabled, bloberror.AuthorizationFailure, bloberror.AuthorizationPermissionMismatch,
		bloberror.AuthorizationProtocolMismatch, bloberror.AuthorizationSourceIPMismatch, bloberror.InsufficientAccountPermissions:
		return verdict{protocol.AccessDenied, false, "give the account the right to list, read, write and delete in the container"}, true
	case bloberror.BlobImmutableDueToPolicy:
		return verdict{protocol.AccessDenied, false, "an immutability policy holds on to what is in the container: remove it, or set spec.readOnly"}, true
	case bloberror.ContainerNotFound, bloberror.ContainerBeingDeleted, bloberror.ContainerDisabled:
		return verdict{protocol.BucketNotFound, false, "create the container, or correct spec.azureBlob.container"}, true
	case bloberror.InvalidResourceName, bloberror.InvalidURI:
		return verdict{protocol.Invalid, false, "correct spec.azureBlob.container"}, true
	}
	return verdict{}, false
}

func (a *azure) fail(ctx context.Context, action string, err error) error {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		return connectionError(ctx, call{action: action, where: a.where, field: "spec.azureBlob", sent: a.sent}, err)
	}
	said := answer.ErrorCode
	if said == "" {
		said = http.StatusText(answer.StatusCode)
	}
	if v, ok := azureVerdict(bloberror.Code(answer.ErrorCode)); ok {
		return &protocol.Error{Reason: v.reason, Transient: v.transient, Message: fmt.Sprintf("%s in %s: %s: %s", action, a.where, said, v.advice)}
	}
	return answered(call{action: action, where: a.where, field: "spec.azureBlob"}, answer.StatusCode, said)
}
