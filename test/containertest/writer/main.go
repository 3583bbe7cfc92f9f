// Command writer stands in for a guest in a container: it writes 1 to the file A,
// then 1 to the file B, then 2 to A, and so on. So B is never ahead of A, and a
// round behind it at most, in whatever is read of both at one moment.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	fmt.Fprintln(os.Stderr, "writer:", write(os.Args[1]))
	os.Exit(1)
}

// write goes on until it fails.
func write(dir string) error {
	var files []*os.File
	for _, name := range []string{"A", "B"} {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	for n := uint64(1); ; n++ {
		time.Sleep(100 * time.Microsecond) // others have work to do too
		for _, f := range files {
			if _, err := f.WriteAt(binary.BigEndian.AppendUint64(nil, n), 0); err != nil {
				return err
			}
		}
	}
}
