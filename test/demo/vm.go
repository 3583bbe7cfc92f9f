package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	namespace = "default"
	source    = "shop"
	target    = "s3"
)

// waitTime bounds each wait for the cluster.
const waitTime = 2 * time.Minute

type demo struct {
	*stack
	dir  string
	tree string // image of the root disk's file system, as the VM has it now
}

// makeVM makes the claims, fills their disks and starts the VM.
func (d *demo) makeVM(ctx context.Context) error {
	d.tree = filepath.Join(d.dir, "tree.img")
	if err := makeTree(ctx, d.tree); err != nil {
		return err
	}
	for disk, size := range map[string]int64{"root": rootSize, "data": dataSize} {
		if err := d.client.Create(ctx, claim(source+"-"+disk, size)); err != nil {
			return fmt.Errorf("making the claim of disk %s: %w", disk, err)
		}
		err := until(ctx, "claim "+source+"-"+disk+" to be bound", func() (bool, error) {
			c := claim(source+"-"+disk, size)
			err := d.client.Get(ctx, client.ObjectKeyFromObject(c), c)
			return c.Status.Phase == corev1.ClaimBound, err
		})
		if err != nil {
			return err
		}
	}
	if _, err := d.disk(ctx, "import", source+"-root", "--file", d.tree); err != nil {
		return err
	}
	if _, err := d.disk(ctx, "fill", source+"-data", "--seed", "1", "--length", strconv.Itoa(dataSize-8*mib)); err != nil {
		return err
	}
	if err := d.client.Create(ctx, virtualMachine(source)); err != nil {
		return fmt.Errorf("making the VM: %w", err)
	}
	return d.awaitRunning(ctx, source)
}

func (d *demo) awaitRunning(ctx context.Context, name string) error {
	return until(ctx, "VM "+name+" to run", func() (bool, error) {
		var vm kubevirt.VirtualMachine
		err := d.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &vm)
		return vm.Status.PrintableStatus == kubevirt.VirtualMachineStatusRunning, err
	})
}

// change changes both disks from inside the guest.
func (d *demo) change(ctx context.Context) error {
	next := filepath.Join(d.dir, "tree-changed.img")
	if _, err := output(ctx, "cp", "--sparse=always", d.tree, next); err != nil {
		return err
	}
	if err := changeTree(ctx, d.dir, next); err != nil {
		return err
	}
	extents, err := differences(d.tree, next)
	if err != nil {
		return err
	}
	part := filepath.Join(d.dir, "extent")
	for _, e := range extents {
		if err := cutOut(next, e, part); err != nil {
			return err
		}
		if _, err := d.vm(ctx, "write", source, "--disk", "root", "--offset", strconv.FormatInt(e.offset, 10), "--file", part); err != nil {
			return err
		}
	}
	d.tree = next
	_, err = d.vm(ctx, "fill", source, "--disk", "data", "--offset", strconv.Itoa(20*mib), "--length", strconv.Itoa(6*mib), "--seed", "2")
	return err
}

// lose deletes the VM and its claims and waits until the volumes are gone.
func (d *demo) lose(ctx context.Context) error {
	objects := []client.Object{virtualMachine(source), claim(source+"-root", rootSize), claim(source+"-data", dataSize)}
	for _, o := range objects {
		if err := d.client.Delete(ctx, o); err != nil {
			return fmt.Errorf("deleting %s: %w", o.GetName(), err)
		}
	}
	return until(ctx, "the VM's volumes to be gone", func() (bool, error) {
		var volumes corev1.PersistentVolumeList
		if err := d.client.List(ctx, &volumes); err != nil {
			return false, err
		}
		for _, o := range objects {
			if err := d.client.Get(ctx, client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
				return false, err
			}
		}
		return len(volumes.Items) == 0, nil
	})
}

func claim(name string, size int64) *corev1.PersistentVolumeClaim {
	class, block := "longhorn", corev1.PersistentVolumeBlock
	c := &corev1.PersistentVolumeClaim{}
	c.Namespace, c.Name = namespace, name
	c.Spec.StorageClassName, c.Spec.VolumeMode = &class, &block
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(size, resource.BinarySI)}
	return c
}

func virtualMachine(name string) *kubevirt.VirtualMachine {
	always := kubevirt.RunStrategyAlways
	vm := &kubevirt.VirtualMachine{}
	vm.Namespace, vm.Name = namespace, name
	vm.Spec.RunStrategy = &always
	vm.Spec.Template = &kubevirt.VirtualMachineInstanceTemplateSpec{}
	for _, disk := range []string{"root", "data"} {
		vm.Spec.Template.Spec.Domain.Devices.Disks = append(vm.Spec.Template.Spec.Domain.Devices.Disks, kubevirt.Disk{
			Name: disk, DiskDevice: kubevirt.DiskDevice{Disk: &kubevirt.DiskTarget{Bus: kubevirt.DiskBusVirtio}},
		})
		source := &kubevirt.PersistentVolumeClaimVolumeSource{}
		source.ClaimName = name + "-" + disk
		vm.Spec.Template.Spec.Volumes = append(vm.Spec.Template.Spec.Volumes, kubevirt.Volume{
			Name: disk, VolumeSource: kubevirt.VolumeSource{PersistentVolumeClaim: source},
		})
	}
	return vm
}

func until(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	for {
		ok, err := done()
		if ok || (err != nil && ctx.Err() == nil) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
