// Package azurestand stands in for Azure Blob Storage: one container, by the rules of
// its REST interface, with the account's name in the path as in emulators. Requests
// are taken only with a signature by the account's key (authorization with Shared Key,
// version 2009-09-19 and later). It keeps everything in memory.
//
// It knows what the engine's driver and the target worker ask for, and nothing of
// leases, snapshots, versions and blobs that are made of blocks.
package azurestand

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the service knows.
const (
	Account   = "account"
	Container = "backups"
	Key       = "aGF5bG9mdC10ZXN0LWtleQ=="
)

// Stand is one service.
type Stand struct {
	// URL is its endpoint, without the account.
	URL string

	mu    sync.Mutex
	blobs map[string]blob
	// ahead is by how much its clock is.
	ahead time.Duration
	// softDelete is what the account says of its delete retention.
	softDelete bool
	page       int
}

type blob struct {
	data     []byte
	modified time.Time
}

// Start begins a service that ends with the test. A listing tells so many blobs at
// once as page says.
func Start(tb testing.TB, page int) *Stand {
	tb.Helper()
	s := &Stand{blobs: map[string]blob{}, page: page}
	server := httptest.NewServer(s)
	tb.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Put makes a blob.
func (s *Stand) Put(name string, data []byte) { s.PutAt(name, data, time.Now()) }

// PutAt makes a blob that was last written at some time.
func (s *Stand) PutAt(name string, data []byte, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[name] = blob{data, at}
}

// Ahead sets by how much the service's clock is ahead from now on.
func (s *Stand) Ahead(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead = d
}

// Names of all blobs, sorted.
func (s *Stand) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.blobs))
}

// SoftDelete has the account hold on to what is deleted, or say so.
func (s *Stand) SoftDelete(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.softDelete = on
}

// ServeHTTP answers one request.
func (s *Stand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("x-ms-request-id", "1")
	if !signed(r) {
		refuseAzure(w, http.StatusForbidden, "AuthenticationFailed")
		return
	}
	if r.URL.Query().Get("restype") == "service" {
		writeXML(w, fmt.Sprintf(`<StorageServiceProperties><DeleteRetentionPolicy><Enabled>%t</Enabled><Days>7</Days></DeleteRetentionPolicy></StorageServiceProperties>`, s.softDelete))
		return
	}
	container, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"+Account+"/"), "/")
	switch b, there := s.blobs[name]; {
	case container != Container:
		refuseAzure(w, http.StatusNotFound, "ContainerNotFound")
	case r.URL.Query().Get("comp") == "list":
		s.list(w, r)
	case r.Method == http.MethodPut:
		data, _ := io.ReadAll(r.Body)
		s.blobs[name] = blob{data, time.Now().Add(s.ahead)}
		w.WriteHeader(http.StatusCreated)
	case !there:
		refuseAzure(w, http.StatusNotFound, "BlobNotFound")
	case r.Method == http.MethodDelete:
		delete(s.blobs, name)
		w.WriteHeader(http.StatusAccepted)
	default:
		w.Header().Set("Content-Length", strconv.Itoa(len(b.data)))
		w.Header().Set("Last-Modified", b.modified.UTC().Format(http.TimeFormat))
		w.Header().Set("ETag", etag(b.data))
		if r.Method == http.MethodGet {
			_, _ = w.Write(b.data)
		}
	}
}

func (s *Stand) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	type entry struct{ name, text string }
	var all []entry
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(s.blobs)) {
		if !strings.HasPrefix(name, q.Get("prefix")) {
			continue
		}
		below, isDir := name, false
		if d := q.Get("delimiter"); d != "" {
			if i := strings.Index(name[len(q.Get("prefix")):], d); i >= 0 {
				below, isDir = name[:len(q.Get("prefix"))+i+1], true
			}
		}
		if seen[below] {
			continue
		}
		seen[below] = true
		if isDir {
			all = append(all, entry{below, "<BlobPrefix><Name>" + below + "</Name></BlobPrefix>"})
			continue
		}
		all = append(all, entry{below, fmt.Sprintf("<Blob><Name>%s</Name><Properties><Etag>%s</Etag><Content-Length>%d</Content-Length></Properties></Blob>", below, etag(s.blobs[name].data), len(s.blobs[name].data))})
	}
	from := slices.IndexFunc(all, func(e entry) bool { return e.name >= q.Get("marker") })
	if from < 0 {
		from = len(all)
	}
	to, next := min(len(all), from+s.page), ""
	if to < len(all) {
		next = all[to].name
	}
	var texts []string
	for _, e := range all[from:to] {
		texts = append(texts, e.text)
	}
	writeXML(w, "<EnumerationResults><Blobs>"+strings.Join(texts, "")+"</Blobs><NextMarker>"+next+"</NextMarker></EnumerationResults>")
}

func etag(data []byte) string {
	sum := sha256.Sum256(data)
	return fmt.Sprintf(`"0x%X"`, sum[:8])
}

func writeXML(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/xml")
	_, _ = io.WriteString(w, xml.Header+body)
}

func refuseAzure(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-ms-error-code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, xml.Header+"<Error><Code>"+code+"</Code><Message>no</Message></Error>")
}

// signed checks a request's signature.
func signed(r *http.Request) bool {
	key, _ := base64.StdEncoding.DecodeString(Key)
	length := r.Header.Get("Content-Length")
	if length == "" && r.ContentLength > 0 {
		length = strconv.FormatInt(r.ContentLength, 10)
	}
	lines := []string{r.Method, r.Header.Get("Content-Encoding"), r.Header.Get("Content-Language"), length}
	for _, name := range []string{"Content-MD5", "Content-Type", "Date", "If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range"} {
		lines = append(lines, r.Header.Get(name))
	}
	own := map[string]string{}
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ms-") {
			own[lower] = strings.TrimSpace(r.Header.Get(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		lines = append(lines, name+":"+own[name])
	}
	resource := "/" + Account + r.URL.EscapedPath()
	q := r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(q)) {
		resource += "\n" + strings.ToLower(name) + ":" + strings.Join(q[name], ",")
	}
	mac := hmac.New(sha256.New, key)
	_, _ = io.WriteString(mac, strings.Join(append(lines, resource), "\n"))
	want := "SharedKey " + Account + ":" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(want), []byte(r.Header.Get("Authorization")))
}
