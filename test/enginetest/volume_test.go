package enginetest_test

import (
	"bytes"
	"testing"

	"hayloft.dev/test/enginetest"
)

// What is written through the front end is there after the volume was
// detached and attached again, on both replicas.
func TestVolumeKeepsData(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{Replicas: 2})
	v.Device().WriteBlocks(1, 3, 2)
	sum := v.Device().Sum()
	v.Detach()
	v.Attach(true)
	if got := v.Device().Sum(); got != sum {
		t.Errorf("sha256 after attaching again is %s, was %s", got, sum)
	}
	v.Replicas[0].Process.Kill()
	if got := v.Device().Read(3*enginetest.BlockBytes, enginetest.BlockBytes); !bytes.Equal(got, enginetest.Block(1, 3)) {
		t.Error("the second replica alone holds something else")
	}
}
