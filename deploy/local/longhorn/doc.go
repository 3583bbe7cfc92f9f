// Package longhorn is a stand-in for longhorn-manager, its instance managers and its CSI sidecars. The real manager needs
// iSCSI and privileges that a loopback stack does not have; everything below it is real: the objects are Longhorn's own
// v1beta2 kinds, and behind each attached volume run the real engine and replicas of longhorn-engine v1.8.0, whose front
// end is a unix socket in place of a block device.
//
// It follows longhorn-manager v1.8.1, and where that was seen to behave otherwise than its source suggests, what was seen:
//
//   - A Volume gets its VolumeAttachment, Engine and Replica objects, labelled and owned as Longhorn does it, and goes from
//     creating to detached. Deleting it ends its processes and removes its folders before the object goes.
//   - Tickets: package tickets. Webhooks: package admission.
//   - Attaching starts the replicas on their nodes' addresses, then the engine on the ticket's node; detaching stops the
//     engine first. The poll of engines that fills statuses takes 5 s, as the real one's; attaching and detaching take
//     tens of milliseconds, not seconds.
//   - An engine that ends by itself makes its volume faulted; it is detached and, while a ticket is left, attached again
//     on a new port, healthy, whatever was being done with it.
//   - A replica that ends by itself is failed, its engine goes on degraded. At the next attach the failed replica's
//     folder is emptied and the engine rebuilds it; the real one does so while the volume is attached, up to 600 s later.
//     When all have failed the volume is faulted and the replicas are salvaged.
//   - A volume of data engine v2 stays detached, with the condition Scheduled saying why.
//   - A Snapshot object is made for each snapshot that an engine shows, at the poll.
//   - Backing images: a BackingImage of source type upload names a file on this machine in sourceParameters "file"; the
//     real one takes the bytes over HTTP.
//   - CSI: package csi.
//
// It is one process for all nodes, so nodes do not fail one by one. It does not expand volumes, restore or back up by
// itself, clone, migrate live, share volumes over NFS, balance or evict replicas. When it ends its engines end; when it
// starts again it finds volumes that say attached without an engine and treats them as if their engines had died.
package longhorn
