package document_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		d := varied(r)
		data, sum, err := document.Encode(d)
		require.NoError(t, err)
		require.Empty(t, d.Digest, "Encode changed what it was given")
		back, err := document.Parse(data)
		require.NoError(t, err)
		require.Equal(t, sum, back.Digest)
		again := encoded(t, back)
		require.Equal(t, string(data), string(again), "encoding twice gives other bytes")
		back.Digest = ""
		// The VM's raw form has the canonical writing; all else is equal.
		require.JSONEq(t, string(d.VM), string(back.VM))
		back.VM = d.VM
		for i := range back.Claims {
			require.JSONEq(t, string(d.Claims[i].Object), string(back.Claims[i].Object))
			back.Claims[i].Object = d.Claims[i].Object
		}
		require.Equal(t, d, back)
	}
}

func TestNumbersAndUnknownFieldsOfTheVMSurvive(t *testing.T) {
	back, err := document.Parse(encoded(t, whole(1)))
	require.NoError(t, err)
	require.Contains(t, string(back.VM), `"a":[1,2.50,"<&>"]`)
	vm, err := back.VMObject()
	require.NoError(t, err)
	require.Equal(t, "web", vm.GetName())
	pvcs, err := back.PVCs()
	require.NoError(t, err)
	require.Equal(t, "prod", pvcs["web-disk-0"].Namespace)
}

// A single changed bit is found, by the digest or before.
func TestDamageIsFound(t *testing.T) {
	data := encoded(t, whole(2))
	for i := 0; i < len(data); i += 7 {
		damaged := bytes.Clone(data)
		damaged[i] ^= 1
		_, err := document.Parse(damaged)
		require.Error(t, err, "byte %d, %q", i, data[max(0, i-20):min(len(data), i+20)])
	}
	for _, n := range []int{0, 1, len(data) / 2, len(data) - 1} {
		_, err := document.Parse(data[:n])
		require.Error(t, err)
	}
}

// resigned parses data after replace changed it and its digest was made right:
// what somebody who can write to the target could do.
func resigned(t *testing.T, replace func(m map[string]any)) error {
	t.Helper()
	var m map[string]any
	dec := json.NewDecoder(bytes.NewReader(encoded(t, whole(2))))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&m))
	replace(m)
	delete(m, "digest")
	m["digest"] = document.DigestForTest(t, m)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	require.NoError(t, enc.Encode(m))
	_, err := document.Parse(b.Bytes())
	return err
}

func TestParseRefuses(t *testing.T) {
	require.NoError(t, resigned(t, func(map[string]any) {}), "the test's own signing works")
	disk := func(m map[string]any, i int) map[string]any { return m["disks"].([]any)[i].(map[string]any) }
	point := func(m map[string]any) map[string]any { return m["point"].(map[string]any) }
	origin := func(m map[string]any) map[string]any { return m["origin"].(map[string]any) }
	secret := func(m map[string]any) map[string]any { return m["secrets"].([]any)[0].(map[string]any) }
	claim := func(m map[string]any) map[string]any { return m["claims"].([]any)[0].(map[string]any) }
	for _, c := range []struct {
		name   string
		change func(m map[string]any)
		says   string
	}{
		{"newer format", func(m map[string]any) { m["formatVersion"] = 3 }, "unknown format version"},
		{"format as text", func(m map[string]any) { m["formatVersion"] = "1" }, "unknown format version"},
		{"no format", func(m map[string]any) { delete(m, "formatVersion") }, "unknown format version"},
		{"unknown field", func(m map[string]any) { m["extra"] = 1 }, "extra"},
		{"field in another case", func(m map[string]any) { m["Notes"] = m["notes"]; delete(m, "notes") }, "written as Hayloft"},
		{"null for a list", func(m map[string]any) { m["notes"] = nil }, "written as Hayloft"},
		{"encrypted", func(m map[string]any) { m["secretsEncrypted"] = true }, "encrypted"},
		{"no disks", func(m map[string]any) { delete(m, "disks") }, "0 disks"},
		{"disk twice", func(m map[string]any) { disk(m, 1)["name"] = "disk-0" }, "there twice"},
		{"claim twice", func(m map[string]any) { disk(m, 1)["claim"] = "web-disk-0" }, "there twice"},
		{"volume twice", func(m map[string]any) { disk(m, 1)["volume"] = disk(m, 0)["volume"] }, "there twice"},
		{"disk of an absent claim", func(m map[string]any) { disk(m, 1)["claim"] = "other" }, "does not hold"},
		{"backup with a path", func(m map[string]any) { disk(m, 0)["backup"] = "../../etc" }, "not a name of a backup"},
		{"volume with a query", func(m map[string]any) { disk(m, 0)["volume"] = "a&volume=b" }, "not a name of a volume"},
		{"snapshot with a slash", func(m map[string]any) { disk(m, 0)["snapshot"] = "a/b" }, "not a name of a snapshot"},
		{"hidden volume", func(m map[string]any) { disk(m, 0)["volume"] = ".hidden" }, "not a name of a volume"},
		{"backups beside snapshots", func(m map[string]any) { delete(disk(m, 1), "backup") }, "not both backups or both snapshots"},
		{"empty backup", func(m map[string]any) { disk(m, 0)["backup"] = ""; disk(m, 1)["backup"] = "" }, "written as Hayloft"},
		{"backup of another point", func(m map[string]any) { disk(m, 0)["backup"] = fmt.Sprintf("hl-%s-a1-disk-0", uid(9)) }, "was not made for this point"},
		{"backup of Longhorn's own", func(m map[string]any) { disk(m, 0)["backup"] = "backup-0123456789abcdef" }, "was not made for this point"},
		{"snapshot of another point", func(m map[string]any) { disk(m, 1)["snapshot"] = fmt.Sprintf("hl-%s-c1-disk-1", uid(9)) }, "was not cut for this point"},
		{"huge", func(m map[string]any) { disk(m, 0)["sizeBytes"] = json.Number("9223372036854775807") }, "its size is 9223372036854775807"},
		{"beyond int64", func(m map[string]any) { disk(m, 0)["sizeBytes"] = json.Number("1e400") }, "does not follow its format"},
		{"fraction of a byte", func(m map[string]any) { disk(m, 0)["sizeBytes"] = json.Number("1.5") }, "does not follow its format"},
		{"negative", func(m map[string]any) { disk(m, 0)["sizeBytes"] = -1 }, "its size is -1"},
		{"number in the VM beyond any", func(m map[string]any) { m["vm"].(map[string]any)["n"] = json.Number("1e99999") }, "reading the VM"},
		{"disk's name with a path", func(m map[string]any) { disk(m, 0)["name"] = "../x" }, "not a name of a disk"},
		{"claim's access mode", func(m map[string]any) {
			claim(m)["object"].(map[string]any)["spec"] = map[string]any{"accessModes": []any{"All"}}
		}, "not an access mode"},
		{"claim's volume mode", func(m map[string]any) {
			claim(m)["object"].(map[string]any)["spec"] = map[string]any{"volumeMode": "Tape"}
		}, "not a volume mode"},
		{"claim's class", func(m map[string]any) {
			claim(m)["object"].(map[string]any)["spec"] = map[string]any{"storageClassName": "../x"}
		}, "not a name of a storage class"},
		{"claim that is none", func(m map[string]any) { claim(m)["object"].(map[string]any)["spec"] = "x" }, "no PersistentVolumeClaim"},
		{"claim of another namespace", func(m map[string]any) {
			claim(m)["object"].(map[string]any)["metadata"].(map[string]any)["namespace"] = "kube-system"
		}, "holds another object"},
		{"VM of another namespace", func(m map[string]any) {
			m["vm"].(map[string]any)["metadata"].(map[string]any)["namespace"] = "kube-system"
		}, "not the one that its origin names"},
		{"VM's labels", func(m map[string]any) {
			m["vm"].(map[string]any)["metadata"].(map[string]any)["labels"] = map[string]any{"a b": "c"}
		}, "could not be made"},
		{"claim's annotations", func(m map[string]any) {
			claim(m)["object"].(map[string]any)["metadata"].(map[string]any)["annotations"] = map[string]any{"a": strings.Repeat("x", 300<<10)}
		}, "could not be made"},
		{"labels that are none", func(m map[string]any) { m["vm"].(map[string]any)["metadata"].(map[string]any)["labels"] = 1 }, "its VM"},
		{"Secret that is too large", func(m map[string]any) {
			secret(m)["data"] = map[string]any{"k": strings.Repeat("AAAA", 400<<10)}
		}, "more than the 1048576 that Kubernetes allows"},
		{"note with an escape", func(m map[string]any) { m["notes"] = []any{"\x1b[2J"} }, "cannot be printed"},
		{"long note", func(m map[string]any) { m["notes"] = []any{strings.Repeat("n", 2000)} }, "longer than"},
		{"too many Secrets", func(m map[string]any) { m["secrets"] = make([]any, 300) }, "it"},
		{"no size", func(m map[string]any) { disk(m, 0)["sizeBytes"] = 0 }, "its size is 0"},
		{"volume mode", func(m map[string]any) { disk(m, 0)["volumeMode"] = "Tape" }, "not a volume mode"},
		{"access mode", func(m map[string]any) { disk(m, 0)["accessModes"] = []any{"All"} }, "not an access mode"},
		{"checksum", func(m map[string]any) { disk(m, 0)["backingImage"].(map[string]any)["checksum"] = "x y" }, "not a checksum"},
		{"replicas", func(m map[string]any) { disk(m, 0)["numberOfReplicas"] = 1000 }, "1000 replicas"},
		{"point's name", func(m map[string]any) { point(m)["name"] = "../x" }, "not the name of a point"},
		{"point's namespace", func(m map[string]any) { point(m)["namespace"] = ".." }, "not a namespace"},
		{"point's UID", func(m map[string]any) { point(m)["uid"] = "../../x" }, "not the UID of a point"},
		{"another namespace", func(m map[string]any) { origin(m)["namespace"] = "kube-system" }, "its VM is of namespace"},
		{"another VM", func(m map[string]any) { origin(m)["vm"] = "other" }, "not the one that its origin names"},
		{"not a VM", func(m map[string]any) { m["vm"].(map[string]any)["kind"] = "Pod" }, "Pod"},
		{"kind in another case", func(m map[string]any) {
			vm := m["vm"].(map[string]any)
			vm["Kind"] = "VirtualMachine"
			delete(vm, "kind")
		}, "its VM is a"},
		{"VM is a list", func(m map[string]any) { m["vm"] = []any{} }, "its VM"},
		{"claim holds another", func(m map[string]any) { claim(m)["name"] = "other" }, "holds another object"},
		{"claim of another kind", func(m map[string]any) { claim(m)["object"].(map[string]any)["kind"] = "Secret" }, "is a"},
		{"secret's name", func(m map[string]any) { secret(m)["name"] = "a/b" }, "not a name of a Secret"},
		{"secret's key", func(m map[string]any) { secret(m)["data"].(map[string]any)["../x"] = "" }, "has the key"},
		{"secret twice", func(m map[string]any) { m["secrets"] = []any{secret(m), secret(m)} }, "there twice"},
		{"not cut", func(m map[string]any) { delete(point(m), "cutAt") }, "when it was cut"},
		{"no consistency", func(m map[string]any) { delete(m, "consistency") }, "consistency"},
		{"too deep", func(m map[string]any) {
			var v any = 1
			for range 80 {
				v = []any{v}
			}
			m["vm"].(map[string]any)["deep"] = v
		}, "nested deeper"},
		{"too many values", func(m map[string]any) {
			m["vm"].(map[string]any)["many"] = slices.Repeat([]any{0}, 1<<17)
		}, "more than 131072 values"},
		{"too large a VM", func(m map[string]any) {
			m["vm"].(map[string]any)["large"] = strings.Repeat("x", 1536<<10)
		}, "its VM: it could not be made: it has 15"},
		{"too large a claim", func(m map[string]any) {
			claim(m)["object"].(map[string]any)["large"] = strings.Repeat("x", 1536<<10)
		}, "its claim web-disk-0: it could not be made: it has 15"},
		{"too many notes", func(m map[string]any) { m["notes"] = make([]any, 0); addNotes(m, 65) }, "65 notes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := resigned(t, c.change)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func addNotes(m map[string]any, n int) {
	for range n {
		m["notes"] = append(m["notes"].([]any), "n")
	}
}

func TestParseRefusesForms(t *testing.T) {
	data := string(encoded(t, whole(1)))
	for name, c := range map[string]struct{ data, says string }{
		"empty":           {"", "empty"},
		"null":            {"null", "not a JSON object"},
		"list":            {"[]", "not a JSON object"},
		"text":            {"hello", "not JSON"},
		"trailing data":   {data + "{}", "something follows"},
		"doubled key":     {strings.Replace(data, `"formatVersion":1`, `"formatVersion":1,"formatVersion":1`, 1), "twice in one object"},
		"doubled in VM":   {strings.Replace(data, `"kind":"VirtualMachine"`, `"kind":"VirtualMachine","kind":"VirtualMachine"`, 1), "twice in one object"},
		"invalid UTF-8":   {strings.Replace(data, "a note", "a \xff", 1), "UTF-8"},
		"larger than max": {strings.Repeat(" ", document.MaxBytes+1), "larger"},
	} {
		_, err := document.Parse([]byte(c.data))
		require.ErrorContains(t, err, c.says, name)
	}
}

func TestEncodeRefusesWhatWouldBeTooLarge(t *testing.T) {
	d := whole(1)
	d.ConfigMaps[0].Data["big"] = strings.Repeat("x", document.MaxBytes)
	_, _, err := document.Encode(d)
	require.ErrorContains(t, err, "more than the")
}

func TestDraft(t *testing.T) {
	d := whole(2)
	_, _, err := document.EncodeDraft(d)
	require.ErrorContains(t, err, "a draft has no disks")
	d.Disks, d.Consistency = nil, ""
	data, _, err := document.EncodeDraft(d)
	require.NoError(t, err)
	_, err = document.ParseDraft(data)
	require.NoError(t, err)
	_, err = document.Parse(data)
	require.Error(t, err, "a draft is taken for a whole point")
	_, err = document.ParseDraft(encoded(t, whole(1)))
	require.Error(t, err, "a whole point is taken for a draft")
}

func TestPointInTheCluster(t *testing.T) {
	d := inCluster(2)
	back, err := document.Parse(encoded(t, d))
	require.NoError(t, err)
	require.Equal(t, v1alpha1.TypeSnapshot, back.Type())
	require.Equal(t, d.Disks, back.Disks)
	back, err = document.Parse(encoded(t, whole(1)))
	require.NoError(t, err)
	require.Equal(t, v1alpha1.TypeBackup, back.Type())
	require.Empty(t, (&document.Document{}).Type())
	d.Disks[1].Snapshot = ""
	_, _, err = document.Encode(d)
	require.ErrorContains(t, err, "not a name of a snapshot")
}

func TestPublicHoldsNoSecretValue(t *testing.T) {
	d, err := document.Parse(encoded(t, whole(1)))
	require.NoError(t, err)
	before := fmt.Sprint(d.Secrets)
	data, err := json.Marshal(d.Public())
	require.NoError(t, err)
	require.NotContains(t, string(data), "Y2FuYXJ5") // "canary" in base64
	require.Contains(t, string(data), `"userdata":null`)
	require.Equal(t, before, fmt.Sprint(d.Secrets), "Public changed the document")
	require.Equal(t, d.Digest, d.Public().Digest)
}

func TestPaths(t *testing.T) {
	path, err := document.PointPath("prod", "web-1", uid(3))
	require.NoError(t, err)
	require.Equal(t, "hayloft/points/prod/web-1-00000003-0000-4000-8000-000000000003.json", path)
	require.NoError(t, document.CheckPath(path))
	draft, err := document.DraftPath(uid(3))
	require.NoError(t, err)
	require.Equal(t, "hayloft/drafts/00000003-0000-4000-8000-000000000003.json", draft)
	for _, bad := range []string{
		"", "hayloft", "/" + path, path + "/", path + ".json", "hayloft/points/../web-1-" + string(uid(3)) + ".json",
		"hayloft/points/prod/../../x-" + string(uid(3)) + ".json", "backupstore/volumes/aa/bb/v/volume.cfg",
		"hayloft/points/Prod/web-1-" + string(uid(3)) + ".json", "hayloft/points/prod/-" + string(uid(3)) + ".json", draft,
	} {
		require.Error(t, document.CheckPath(bad), bad)
	}
	for _, bad := range [][2]string{{"a/b", "n"}, {"..", "n"}, {"ns", ".."}, {"ns", "a/b"}, {"ns", strings.Repeat("a", 64)}, {"", "n"}, {"ns", ""}} {
		_, err := document.PointPath(bad[0], bad[1], uid(3))
		require.Error(t, err, bad)
	}
	_, err = document.DraftPath("../x")
	require.Error(t, err)
}
