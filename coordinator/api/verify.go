package api

import (
	"context"
	"time"

	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
)

// Verification is a look whether a point is whole on its target.
type Verification struct {
	Pending   bool       `json:"pending" doc:"It was asked for and has not ended"`
	AllBlocks bool       `json:"allBlocks" doc:"Every block is looked for"`
	StartedAt *time.Time `json:"startedAt,omitempty"`
	EndedAt   *time.Time `json:"endedAt,omitempty"`
	DisksDone int32      `json:"disksDone" doc:"Disks that were looked at"`
	Disks     int32      `json:"disks" doc:"Of so many; 0 until the document was read"`
	Result    string     `json:"result,omitempty" enum:"Passed,Damaged,Unknown" doc:"When it has ended: the point was whole as far as was looked; it was not; or that could not be found out"`
	Reason    string     `json:"reason,omitempty"`
	Message   string     `json:"message,omitempty" doc:"What was found, or is being done"`
}

// verificationOf is the one that was asked for last, nil if none ever was.
func verificationOf(b *v1alpha1.VMBackup) *Verification {
	asked, v := ask.Verification(b), b.Status.Verification
	switch {
	case asked.Open && (v == nil || v.Requested != asked.Word):
		return &Verification{Pending: true, AllBlocks: asked.AllBlocks, Message: "it was not taken up yet"}
	case v == nil:
		return nil
	}
	out := &Verification{
		Pending: v.EndedAt == nil, AllBlocks: v.AllBlocks, StartedAt: timeOf(&v.StartedAt), EndedAt: timeOf(v.EndedAt),
		DisksDone: v.DisksDone, Disks: v.Disks, Message: v.Message, Reason: v.Reason,
	}
	if !out.Pending {
		out.Result = string(v.Result)
	}
	return out
}

type verifyInput struct {
	Named
	Body struct {
		AllBlocks bool `json:"allBlocks,omitempty" doc:"Look for every block too, which takes a request for each 2 MiB"`
	}
}

// verifyPoint asks the coordinator that leads for a look, as anybody can who may change
// the point.
func (s *service) verifyPoint(ctx context.Context, in *verifyInput) (*one[Point], error) {
	b, err := ask.Point(ctx, s.Client, in.Namespace, in.Name, ask.Verify(in.Body.AllBlocks, ask.Word(time.Now())))
	if err != nil {
		return nil, problem.FromCluster(err)
	}
	return &one[Point]{pointOf(b)}, nil
}
