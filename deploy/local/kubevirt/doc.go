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
//   - subresources.kubevirt.io/v1 (package subresource), to which the API server forwards: freeze, unfreeze, pause and
//     unpause of an instance; start, stop and restart of a VM. virt-api gives up after 10 s, what it asked for goes on.
//   - Freezing: a frozen guest has no write under way and begins none, on any disk, until it is thawed or its
//     unfreezeTimeout, in whole seconds, has passed; 0 is never. Freezing a frozen guest changes nothing, the time neither.
//     It needs the guest's agent (condition AgentConnected), a guest that is not paused, and no migration. An instance's
//     status.fsFreezeStatus follows a little later. What is cut between two writes of one round stays so: like a real
//     frozen filesystem, the guest does not finish what a program had in mind.
//   - Pausing: condition Paused, printableStatus Paused. A guest whose unfreezeTimeout passes while it is paused stays
//     frozen: the agent is not reached, and there is one try.
//   - VirtualMachineInstanceMigration: Pending until the instance runs and a node fits, Scheduling until every volume is
//     attached to that node too, by a second csi-attacher ticket; a ticket that Longhorn refuses is asked for again and
//     again, until KubeVirt's time for a target pod is over. Then Scheduled, PreparingTarget, TargetReady, Running and
//     Succeeded, with the instance's migrationState; the guest holds its writes, goes on with its disks' engines on the
//     target, and the source's tickets go. One that fails, or whose object is deleted, leaves the guest where it was, and
//     the target's tickets go. An instance of which a claim is not ReadWriteMany is not LiveMigratable. What KubeVirt's
//     webhook would refuse, a second migration of an instance for one, fails here.
//   - Harvester: claims in the annotation harvesterhci.io/volumeClaimTemplates that do not exist are made.
//
// Its own: the annotations local.hayloft.dev/write-interval (a duration, default 50ms: how often the guest writes; 0 is
// never) and local.hayloft.dev/node (where to start) on the VM. Instances without either it or a nodeSelector
// kubernetes.io/hostname go to the nodes in turn. A restarted failed start waits 1 s more each time instead of 10 s.
// A guest has an agent only where the VM's annotation local.hayloft.dev/guest-agent says connected: one without is cut
// while it writes, which is the harder case. The annotation local.hayloft.dev/freeze-fault, read at each freeze, spoils
// it: error, hang, or a duration that it takes longer (above 10 s: the guest is frozen when nobody waits any more). The
// annotation local.hayloft.dev/migration makes migrations fail when they run (error) or run for a duration.
//
// The annotation local.hayloft.dev/containerd is the socket of a containerd: the guest runs in a container of it, with the
// labels of a virt-launcher pod's compute container, so that it can be paused from outside. Such a guest cannot migrate,
// nor read or write files for its disks. status.activePods names the pod in any case.
//
// The annotation local.hayloft.dev/pod, on a cluster with kubelets, is an image that its nodes have: the guest runs in the
// container "compute" of a pod of the cluster, virt-launcher-NAME-..., which is owned by the instance and has its
// annotations. Nothing of the image is used: the program, the control socket and, by package disk's relay, the engines of
// the disks come from this machine, whose files the nodes must see. Such a guest cannot migrate either.
//
// There are no other pods, and no networks, consoles, hot-plug into a running VM, KubeVirt snapshots or exports.
package kubevirt
