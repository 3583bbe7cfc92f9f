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
//     engine first. Engines are polled for their statuses every 5 s, as by the real one; attaching and detaching take tens
//     of milliseconds. With RealTiming they take 2 s each, and a volume is healthy at the first poll.
//   - A second CSI ticket of an attached migratable volume starts a live migration: a second Engine object and process on
//     that node, with Replica objects and processes of its own on the same files. When the first ticket goes, and both
//     engines show the same snapshots, the second engine is the volume's and the first one goes; when the second ticket
//     goes, the second engine does. Meanwhile no Snapshot object is made, cut or removed, and nothing is rebuilt. An engine
//     that dies during it leaves the volume detached until one of the tickets is gone.
//   - A replica reads from its files where it has not looked before. So the second engine shows what the first one wrote,
//     as long as nobody has read the same place there: who goes on on the second node must read nothing before the first
//     one has stopped. So it is on the real one.
//   - An engine that ends by itself makes its volume faulted; it is detached and, while a ticket is left, attached again
//     on a new port, healthy, whatever was being done with it.
//   - A replica that ends by itself is failed, its engine goes on degraded. At the next attach, or while it is attached
//     after the seconds of the setting replica-replenishment-wait-interval, the failed replica's folder is emptied and the
//     engine rebuilds it. The real one waits so long only where it needs a new folder. When all have failed the volume is
//     faulted and the replicas are salvaged; the volumes of CSI have no revision counters, so of those only the replica
//     that was written last is taken, and the others are rebuilt.
//   - A volume of data engine v2 stays detached, with the condition Scheduled saying why.
//   - A Snapshot object is made for each snapshot that an engine shows, at the poll, and deleted when it shows it no more;
//     those of detached volumes stay. A deleted object takes its snapshot out of the engine before it goes, and one with
//     createSnapshot is cut; for both a detached volume is attached with a ticket of the type snapshot-controller. No
//     checksums are made: the real one makes them once a week.
//   - The setting snapshot-max-count is the limit of new volumes; engines refuse what is above.
//   - Backing images: one of source type download is fetched from its URL, by this process and once; one of type upload
//     names a file on this machine in sourceParameters "file". The real one has pods for both, and tries again.
//   - CSI: package csi.
//
// It is one process for all nodes, so nodes do not fail one by one. It does not expand volumes, restore or back up by
// itself, clone by spec.dataSource, share volumes over NFS, balance or evict replicas. When it ends its engines end; when it
// starts again it finds volumes that say attached without an engine and treats them as if their engines had died.
package longhorn
