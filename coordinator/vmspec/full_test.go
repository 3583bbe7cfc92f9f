package vmspec_test

// full names something in every place that a VM's spec can name a claim, a
// Secret or a ConfigMap. Every name of those begins with "src-".
const full = `
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: old
  namespace: farm
  uid: 11111111-2222-3333-4444-555555555555
  resourceVersion: "9"
  labels: {harvesterhci.io/vmName: old, app: web}
  annotations: {harvesterhci.io/volumeClaimTemplates: '[{"metadata":{"name":"src-root"}}]'}
  finalizers: [kubevirt.io/virtualMachineControllerFinalize]
spec:
  runStrategy: RerunOnFailure
  instancetype: {name: u1.medium, revisionName: old-rev}
  preference: {name: windows.11, revisionName: old-pref}
  updateVolumesStrategy: Replacement
  dataVolumeTemplates:
  - {metadata: {name: src-data}, spec: {source: {blank: {}}}}
  template:
    metadata:
      labels: {harvesterhci.io/vmName: old, kubevirt.io/vm: old}
      annotations: {ovn.kubernetes.io/mac_address: "52:54:00:00:00:01"}
    spec:
      hostname: web1
      nodeSelector: {kubernetes.io/hostname: node1}
      accessCredentials:
      - sshPublicKey: {source: {secret: {secretName: src-keys}}, propagationMethod: {noCloud: {}}}
      - userPassword: {source: {secret: {secretName: src-words}}, propagationMethod: {qemuGuestAgent: {}}}
      networks:
      - {name: default, pod: {}}
      - {name: lan, multus: {networkName: vlan7}}
      domain:
        firmware:
          uuid: 5d307ca9-b3ef-428c-8861-06e72d69f223
          serial: s1
          bootloader: {efi: {persistent: true}}
          kernelBoot: {container: {image: k, imagePullSecret: src-kernel}}
        devices:
          tpm: {persistent: true}
          disks:
          - {name: root, disk: {bus: virtio}, bootOrder: 1}
          - {name: data, disk: {bus: scsi}}
          - {name: plug, disk: {bus: scsi}}
          interfaces:
          - {name: default, masquerade: {}, macAddress: "52:54:00:00:00:02"}
          - {name: lan, bridge: {}, macAddress: "52:54:00:00:00:03"}
      volumes:
      - {name: root, persistentVolumeClaim: {claimName: src-root}}
      - {name: data, dataVolume: {name: src-data}}
      - {name: plug, persistentVolumeClaim: {claimName: src-plug, hotpluggable: true}}
      - {name: nocloud, cloudInitNoCloud: {secretRef: {name: src-user}, networkDataSecretRef: {name: src-net}}}
      - {name: drive, cloudInitConfigDrive: {secretRef: {name: src-user2}, networkDataSecretRef: {name: src-net2}}}
      - {name: prep, sysprep: {configMap: {name: src-unattend}}}
      - {name: prep2, sysprep: {secret: {name: src-unattend2}}}
      - {name: conf, configMap: {name: src-conf}}
      - {name: cert, secret: {secretName: src-cert}}
      - {name: maybe, secret: {secretName: src-maybe, optional: true}}
      - {name: tools, containerDisk: {image: t, imagePullSecret: src-pull}}
      - {name: scratch, emptyDisk: {capacity: 1Gi}}
      - {name: dump, memoryDump: {claimName: src-dump}}
      - {name: robot, serviceAccount: {serviceAccountName: robot}}
      - {name: metrics, downwardMetrics: {}}
status: {ready: true}
`
