// Package kubevirt is a stand-in for KubeVirt's controllers, virt-controller and virt-handler, and for what CDI and
// Harvester's VM controller do to a VM's claims. The real ones need kubelets, KVM and container images that a loopback
// stack does not have. The objects are KubeVirt's own (kubevirt.io/v1, definitions of v1.7.0); what runs in place of a
// virtual machine is the guest of package guest, one process for each VM, on disks that are real Longhorn volumes.
//
// It follows KubeVirt v1.7.0 in these rules:
//
//   - VirtualMachine: spec.runStrategy Always, RerunOnFailure, Manual, Halted and Once, or the deprecated spec.running;
//     both together are a failure. The instance has the VM's name and is owned by it. Requests in
//     status.stateChangeRequests, where the start and stop subresources put them, are honoured. A start that failed
//     early is tried again after a back-off. printableStatus, created, ready, conditions Ready and Failure, and the
//     finalizers are KubeVirt's.
//   - VirtualMachineInstance: Pending until its claims exist, are bound and a node fits; Scheduling until its volumes
//     are attached and its Secrets and ConfigMaps exist; then Scheduled, Running, and at the end Succeeded or Failed.
//     status.volumeStatus tells the claims.
//   - Attaching is what external-attacher and Longhorn's CSI driver do: a ticket of type csi-attacher, named after
//     volume and node, in the volume's VolumeAttachment. It goes when the instance has come to its end, not before.
//   - A guest whose disk fails ends and its instance is Failed; runStrategy decides about the next one, which starts
//     when the volume is attached again.
//   - An instance type or a preference that cannot be found, by revisionName or by name, keeps the VM from starting:
//     condition Failure, reason FailedFindInstancetype or FailedFindPreference. One that is found is not applied:
//     nothing depends on CPUs and memory here.
//   - Persistent TPM or EFI state: a claim persistent-state-for-<vm>-<5 characters> with the label
//     persistent-state-for, 10 MiB on storage class longhorn, made when the VM has none, owned by the VM. It is
//     attached as a disk.
//   - CDI: a dataVolumeTemplate's claim is made (blank sources only) and owned by the VM. A DataVolume that is new over
//     a claim that CDI did not populate for it populates it: the claim's data is overwritten, here with zeros.
//   - Harvester: claims in the annotation harvesterhci.io/volumeClaimTemplates that do not exist are made.
//
// Its own: the annotations local.hayloft.dev/write-interval (a duration, default 50ms: how often the guest writes; 0 is
// never) and local.hayloft.dev/node (where to run) on the VM. Instances without either it or a nodeSelector
// kubernetes.io/hostname go to the nodes in turn. A restarted failed start waits 1 s more each time instead of 10 s.
//
// There are no pods, networks, consoles, subresources, live migration, hot-plug into a running VM, freezing, KubeVirt
// snapshots or exports.
package kubevirt
