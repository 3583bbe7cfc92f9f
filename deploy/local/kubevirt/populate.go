package kubevirt

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/disk"
)

// populateTimeout bounds the overwriting of one disk, and populateRetry is waited after one that failed.
const (
	populateTimeout = 10 * time.Minute
	populateRetry   = 2 * time.Second
)

// populator overwrites claims' disks with zeros, as CDI does for a blank DataVolume.
type populator struct {
	ctx       context.Context // of the stand-in: the work outlives the call that asks for it
	client    client.Client
	namespace string // Longhorn's
	log       *slog.Logger

	mu      sync.Mutex
	working map[types.UID]types.NamespacedName // claim's UID -> claim that is being populated
	running sync.WaitGroup
}

func newPopulator(ctx context.Context, c client.Client, o Options) *populator {
	return &populator{
		ctx: ctx, client: c, namespace: o.LonghornNamespace, log: o.Log,
		working: map[types.UID]types.NamespacedName{},
	}
}

// wait returns when nothing is being populated any more; the context has to end first.
func (p *populator) wait() { p.running.Wait() }

// isBusy tells whether a DataVolume of the VM is being populated.
func (p *populator) isBusy(vm *virt.VirtualMachine) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, claim := range p.working {
		for _, template := range vm.Spec.DataVolumeTemplates {
			if claim.Namespace == vm.Namespace && claim.Name == template.Name {
				return true
			}
		}
	}
	return false
}

// populate begins with a claim, unless it is at it. At the end the claim says that it is populated for the DataVolume.
func (p *populator) populate(claim *corev1.PersistentVolumeClaim, dataVolume string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return p.ctx.Err()
	}
	if _, isWorking := p.working[claim.UID]; isWorking {
		return nil
	}
	key := client.ObjectKeyFromObject(claim)
	uid := claim.UID
	p.working[uid] = key
	p.running.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, populateTimeout)
		defer cancel()
		if err := p.overwrite(ctx, key, uid, dataVolume); err != nil {
			p.log.Warn("populating DataVolume", "namespace", key.Namespace, "name", dataVolume, "error", err)
			select {
			case <-time.After(populateRetry):
			case <-p.ctx.Done():
			}
		}
		p.mu.Lock()
		delete(p.working, uid)
		p.mu.Unlock()
	})
	return nil
}

func (p *populator) overwrite(ctx context.Context, key types.NamespacedName, uid types.UID, dataVolume string) error {
	volume, err := disk.VolumeOf(ctx, p.client, key.Namespace, key.Name)
	if err != nil {
		return err
	}
	p.log.Info("a new DataVolume overwrites a disk", "namespace", key.Namespace, "name", dataVolume, "volume", volume)
	attached, err := disk.Attacher{Client: p.client, Namespace: p.namespace, User: "cdi-importer"}.Attach(ctx, volume)
	if err != nil {
		return err
	}
	err = disk.Zero(ctx, attached, 0, attached.Size())
	if closeErr := attached.Close(ctx); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	var claim corev1.PersistentVolumeClaim
	if err := p.client.Get(ctx, key, &claim); err != nil {
		return err
	}
	if claim.UID != uid {
		return fmt.Errorf("claim %s is another one now", key.Name)
	}
	before := claim.DeepCopy()
	if claim.Annotations == nil {
		claim.Annotations = map[string]string{}
	}
	claim.Annotations[populatedFor] = dataVolume
	return p.client.Patch(ctx, &claim, client.MergeFrom(before))
}
