package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hayloft.dev/coordinator/targetio/protocol"
)

// Serve is a share that is mounted at root, by HTTP, for one client: the source is
// the share as the kernel shows it, field the one that names it in the target's spec.
// The process that serves it is limited in CPU time as the client asks.
func Serve(root, source, field string) http.Handler {
	s := shareAt(root, source, field, &atomic.Int64{})
	f := &files{backend: s, put: s.put}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wireList, f.list)
	mux.HandleFunc("GET "+wireWalk, f.walk)
	mux.HandleFunc("GET "+wireStat, f.stat)
	mux.HandleFunc("GET "+wireRead, f.read)
	mux.HandleFunc("PUT "+wireWrite, f.write)
	mux.HandleFunc("DELETE "+wireRemove, f.remove)
	return mux
}

type files struct {
	backend
	put func(path string, r io.Reader) error

	mu   sync.Mutex
	told time.Duration // CPU time that was told
}

// cpu is what was taken since it was last asked for.
func (f *files) cpu() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	since := (CPUTime() - f.told).Milliseconds()
	f.told += time.Duration(since) * time.Millisecond
	return since
}

// path of a request; false: it was refused.
func (f *files) path(rw http.ResponseWriter, r *http.Request, empty bool) (string, bool) {
	if limit, err := strconv.ParseInt(r.Header.Get(headerLimit), 10, 64); err == nil && limit > 0 {
		if err := LimitCPU(limit); err != nil {
			f.fail(rw, err)
			return "", false
		}
	}
	path := r.URL.Query().Get("path")
	if path == "" && empty {
		return path, true
	}
	if err := checkPath(path); err != nil {
		f.fail(rw, err)
		return "", false
	}
	return path, true
}

func (f *files) answer(rw http.ResponseWriter, body any) {
	rw.Header().Set(headerCPU, strconv.FormatInt(f.cpu(), 10))
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(body) // the client sees what is cut off
}

func (f *files) fail(rw http.ResponseWriter, err error) {
	failure, status := wireFailure{}, http.StatusInternalServerError
	if failure.Missing = errors.Is(err, ErrMissing); failure.Missing {
		status = http.StatusNotFound
	} else {
		failure.Error = wireError(err)
	}
	rw.Header().Set(headerCPU, strconv.FormatInt(f.cpu(), 10))
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(failure)
}

func wireError(err error) *protocol.Error {
	var e *protocol.Error
	if !errors.As(err, &e) {
		e = &protocol.Error{Reason: protocol.Internal, Transient: true, Message: err.Error()}
	}
	return e
}

func (f *files) list(rw http.ResponseWriter, r *http.Request) {
	path, ok := f.path(rw, r, true)
	if !ok {
		return
	}
	names, err := f.backend.list(r.Context(), path)
	if err != nil {
		f.fail(rw, err)
		return
	}
	f.answer(rw, wireNames{Names: names})
}

// walk answers while it goes on, so that neither side keeps a long listing.
func (f *files) walk(rw http.ResponseWriter, r *http.Request) {
	path, ok := f.path(rw, r, false)
	if !ok {
		return
	}
	rw.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(rw)
	err := f.backend.walk(r.Context(), path, func(file File) error {
		return out.Encode(wireFile{Path: file.Path, Size: file.Size, Version: file.Version})
	})
	end := &wireEnd{CPUMilliseconds: f.cpu()}
	if err != nil {
		end.Error = wireError(err)
	}
	_ = out.Encode(wireFile{End: end})
}

func (f *files) stat(rw http.ResponseWriter, r *http.Request) {
	path, ok := f.path(rw, r, false)
	if !ok {
		return
	}
	i, err := f.backend.stat(r.Context(), path)
	if err != nil {
		f.fail(rw, err)
		return
	}
	f.answer(rw, wireInfo{Size: i.size, Modified: i.modified})
}

func (f *files) read(rw http.ResponseWriter, r *http.Request) {
	path, ok := f.path(rw, r, false)
	if !ok {
		return
	}
	content, err := f.backend.read(r.Context(), path)
	if err != nil {
		f.fail(rw, err)
		return
	}
	defer func() { _ = content.Close() }()
	// A first byte, since a directory and a stale handle can be opened.
	first := make([]byte, 64<<10)
	n, err := io.ReadFull(content, first)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		f.fail(rw, fileError("reading "+path, err))
		return
	}
	rw.Header().Set(headerCPU, strconv.FormatInt(f.cpu(), 10))
	rw.Header().Set("Content-Type", "application/octet-stream")
	if _, err := rw.Write(first[:n]); err != nil {
		return
	}
	if _, err := io.Copy(rw, content); err != nil {
		panic(http.ErrAbortHandler) // what was sent is not the whole: the client must see that
	}
}

func (f *files) write(rw http.ResponseWriter, r *http.Request) {
	path, ok := f.path(rw, r, false)
	if !ok {
		return
	}
	if err := f.put(path, r.Body); err != nil {
		f.fail(rw, err)
		return
	}
	f.answer(rw, struct{}{})
}

func (f *files) remove(rw http.ResponseWriter, r *http.Request) {
	path, ok := f.path(rw, r, false)
	if !ok {
		return
	}
	if err := f.backend.remove(r.Context(), path); err != nil {
		f.fail(rw, err)
		return
	}
	f.answer(rw, struct{}{})
}

// LimitCPU has the kernel end this process when it takes twice what it may, and at
// least a second: what it is asked to stop at it looks at by itself.
func LimitCPU(milliseconds int64) error {
	seconds := uint64(max(1, milliseconds*2/1000))
	if err := syscall.Setrlimit(syscall.RLIMIT_CPU, &syscall.Rlimit{Cur: seconds, Max: seconds}); err != nil {
		return fmt.Errorf("limiting the CPU time of the target worker: %w", err)
	}
	return nil
}

// CPUTime is what this process has taken so far, user and system.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
