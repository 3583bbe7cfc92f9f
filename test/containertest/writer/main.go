// Command writer stands in for a guest in a container: it writes 1 to the file A,
// then 1 to the file B, then 2 to A, and so on. So B is never ahead of A, and a
// round behind it at most, in whatever is read of both at one moment.
//
//	writer DIR          does that in a folder
//	writer note F LINE  adds a line to a file
//	writer fail         ends with exit code 3
//	writer hang         does not end
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	switch os.Args[1] {
	case "fail":
		os.Exit(3)
	case "hang":
		time.Sleep(time.Hour)
	case "note":
		if err := note(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "writer:", err)
			os.Exit(1)
		}
		return
	}
	fmt.Fprintln(os.Stderr, "writer:", write(os.Args[1]))
	os.Exit(1)
}

// note adds a line to a file.
func note(path, line string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, line); err != nil {
		return err
	}
	return f.Close()
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
