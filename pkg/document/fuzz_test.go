package document_test

import (
	"bytes"
	"path"
	"strings"
	"testing"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
)

// FuzzParse looks for bytes that make Parse panic, that it takes without being
// able to write them again, or whose names could lead out of their folders.
func FuzzParse(f *testing.F) {
	data := encoded(f, whole(2))
	f.Add(data)
	f.Add(encoded(f, inCluster(2)))
	f.Add(encoded(f, sealed(f, whole(1))))
	f.Add(bytes.ReplaceAll(data, []byte("web-disk-0"), []byte("../../evil")))
	f.Add(bytes.ReplaceAll(data, []byte("prod"), []byte("..")))
	f.Add(bytes.ReplaceAll(data, []byte("hl-"+string(uid(3))), []byte("hl-"+string(uid(4)))))
	f.Add(bytes.ReplaceAll(data, []byte("1073741824"), []byte("9223372036854775807")))
	f.Add(bytes.ReplaceAll(data, []byte("a note"), []byte(`\u001b[2J`)))
	f.Add(bytes.ReplaceAll(data, []byte(`"kind":"PersistentVolumeClaim"`), []byte(`"kind":"PersistentVolumeClaim","spec":{"accessModes":["All"]}`)))
	f.Add([]byte(`{"formatVersion":1,"digest":"sha256:00"}`))
	f.Add([]byte(`{"formatVersion":1e0,"vm":{}}`))
	f.Add([]byte(strings.Repeat("[", 10000)))
	f.Add([]byte(`{"a":{"a":1,"a":2}}`))
	f.Add([]byte("{} {}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// With the digest made right, the rules behind it are reached.
		for _, data := range [][]byte{data, document.Resign(data)} {
			d, err := document.Parse(data)
			if err != nil {
				continue
			}
			again, sum, err := document.Encode(d)
			if err != nil || sum != d.Digest {
				t.Fatalf("accepted, but not written again: %v, %s", err, sum)
			}
			if _, err := document.Parse(again); err != nil {
				t.Fatalf("written, but not read again: %v", err)
			}
			p, err := document.PointPath(d.Point.Namespace, d.Point.Name, d.Point.UID)
			if err != nil || path.Clean(p) != p || !strings.HasPrefix(p, "hayloft/points/"+d.Point.Namespace+"/") || document.CheckPath(p) != nil {
				t.Fatalf("accepted a point that lies at %q: %v", p, err)
			}
			if _, err := d.PVCs(); err != nil {
				t.Fatalf("accepted claims that are none: %v", err)
			}
			for _, disk := range d.Disks {
				if of, ok := names.SnapshotPoint(disk.Snapshot); !ok || of != d.Point.UID {
					t.Fatalf("accepted snapshot %q for point %s", disk.Snapshot, d.Point.UID)
				}
				engine := []string{disk.Name, disk.Claim, disk.Volume, disk.Snapshot}
				if d.Type() == v1alpha1.TypeBackup {
					engine = append(engine, disk.Backup)
				} else if disk.Backup != "" {
					t.Fatalf("accepted backup %q beside snapshots", disk.Backup)
				}
				for _, name := range engine {
					if strings.ContainsAny(name, "/\\?&=%\x00") || strings.HasPrefix(name, ".") || name == "" {
						t.Fatalf("accepted the name %q", name)
					}
				}
			}
			for _, s := range d.Secrets {
				if d.SecretsEncrypted && len(s.Data) > 0 {
					t.Fatalf("accepted readable values beside encrypted ones in Secret %q", s.Name)
				}
				if strings.ContainsAny(s.Name, "/\\\x00") || s.Name == "" {
					t.Fatalf("accepted the Secret %q", s.Name)
				}
			}
		}
	})
}
