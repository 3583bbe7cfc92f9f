package lease

import (
	"fmt"
	"math"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// sessionID is `<node>-<random>`, short enough for the session's Lease to have
// a legal name. A node name too long for that is cut and made unique again by
// its digest.
func sessionID(node, random string) string {
	const digest = 10 // length of names.Short
	room := validation.DNS1123SubdomainMaxLength - len(names.SessionLease("")) - len("-") - len(random)
	if len(node) > room {
		node = strings.TrimRight(node[:room-len("-")-digest], "-.") + "-" + names.Short(node)
	}
	return node + "-" + random
}

func nodeLabel(node string) string {
	if len(validation.IsValidLabelValue(node)) > 0 {
		return names.Short(node)
	}
	return node
}

func newSession(o Options, id string) *coordinationv1.Lease {
	now := metav1.NowMicro()
	seconds := int32((o.Duration + time.Second - 1) / time.Second)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   o.Namespace,
			Name:        names.SessionLease(id),
			Labels:      map[string]string{v1alpha1.LabelLease: KindSession, v1alpha1.LabelNode: nodeLabel(o.Node)},
			Annotations: map[string]string{AnnotationNode: o.Node},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity:       &id,
			LeaseDurationSeconds: &seconds,
			AcquireTime:          &now,
			RenewTime:            &now,
		},
	}
}

// renewal is a copy of a session's Lease, stamped with the number of the beat.
func renewal(l *coordinationv1.Lease, beat string) *coordinationv1.Lease {
	l = l.DeepCopy()
	annotate(l, annotationBeat, beat)
	now := metav1.NowMicro()
	l.Spec.RenewTime = &now
	return l
}

func view(l *coordinationv1.Lease) volumeView {
	if l == nil {
		return volumeView{}
	}
	return volumeView{exists: true, holder: holder(l), claim: l.Annotations[annotationClaim]}
}

// acquisition is the volume's lease as session will hold it: a new one where l
// is nil, else a copy of l one epoch on.
func acquisition(namespace, volume, session, claim string, l *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	if l == nil {
		l = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: names.VolumeLease(volume)}}
	} else {
		l = l.DeepCopy()
	}
	e := epoch(l)
	if e >= math.MaxInt32 {
		return nil, fmt.Errorf("lease %s: epoch %d cannot grow any more", l.Name, e)
	}
	next, now := int32(e+1), metav1.NowMicro()
	if l.Labels == nil {
		l.Labels = map[string]string{}
	}
	l.Labels[v1alpha1.LabelLease] = KindVolume
	annotate(l, AnnotationVolume, volume)
	annotate(l, annotationClaim, claim)
	l.Spec.HolderIdentity = &session
	l.Spec.LeaseTransitions = &next
	l.Spec.AcquireTime = &now
	return l, nil
}

// givenBack is a copy of a volume's lease without holder. The epoch stays.
func givenBack(l *coordinationv1.Lease) *coordinationv1.Lease {
	l = l.DeepCopy()
	none := ""
	l.Spec.HolderIdentity = &none
	delete(l.Annotations, annotationClaim)
	return l
}

func annotate(l *coordinationv1.Lease, key, value string) {
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	l.Annotations[key] = value
}

func holder(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

func epoch(l *coordinationv1.Lease) int64 {
	if l.Spec.LeaseTransitions == nil {
		return 0
	}
	return int64(*l.Spec.LeaseTransitions)
}

// duration that a session's Lease says; DefaultDuration when it says nothing.
func duration(l *coordinationv1.Lease) time.Duration {
	if l.Spec.LeaseDurationSeconds == nil || *l.Spec.LeaseDurationSeconds <= 0 {
		return DefaultDuration
	}
	return time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
}

// version changes with every write and differs between two objects of one name.
func version(l *coordinationv1.Lease) string {
	return string(l.UID) + "/" + l.ResourceVersion
}
