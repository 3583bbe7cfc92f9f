package disk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/longhorn/longhorn-engine/pkg/dataconn"
)

const (
	// connections to the engine: one goroutine on each side copies a connection's data, and four keep two cores busy.
	connections = 4
	// requestTimeout is how long a device waits for an answer before all of its requests fail. The engine itself gives
	// up on a replica after 8 to 16 s and goes on with the others, which must not look like a lost disk here.
	requestTimeout = 30 * time.Second
)

// ErrClosed says that the device was closed by its owner.
var ErrClosed = errors.New("device is closed")

// Device is an open volume. Requests may be sent from many goroutines; each is answered when every replica of the
// volume has done it. A device that lost its engine fails every request and does not come back: open a new one.
type Device struct {
	volume string
	size   int64
	client *dataconn.Client

	mu       sync.RWMutex // held for reading by every request in flight, so that Close waits for them
	isClosed bool
}

// Open connects to the engine of a volume of size bytes. The data path has no handshake: a wrong size shows only when
// somebody reads behind the end.
func Open(ctx context.Context, volume string, size int64) (*Device, error) {
	socket, err := findSocket(volume, "/proc")
	if err != nil {
		return nil, err
	}
	return OpenAt(ctx, socket, volume, size)
}

// OpenAt is Open where the engine, or a Relay to it, listens at a path that the caller knows.
func OpenAt(ctx context.Context, socket, volume string, size int64) (*Device, error) {
	var conns []net.Conn
	for range connections {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			for _, open := range conns {
				_ = open.Close() // nothing was sent yet
			}
			return nil, fmt.Errorf("connecting to the engine of volume %s: %w", volume, err)
		}
		conns = append(conns, conn)
	}
	d := &Device{volume: volume, size: size, client: dataconn.NewClient(conns, fixedTimeout{})}
	if err := d.client.Ping(); err != nil {
		d.client.Close()
		return nil, fmt.Errorf("asking the engine of volume %s for an answer: %w", volume, err)
	}
	return d, nil
}

// Size of the volume in bytes, as it was given to Open.
func (d *Device) Size() int64 { return d.size }

// ReadAt fills p with the data at offset.
func (d *Device) ReadAt(p []byte, offset int64) (int, error) {
	return d.do("reading", p, offset, d.client.ReadAt)
}

// WriteAt writes p at offset. When it returns nil all replicas have the data.
func (d *Device) WriteAt(p []byte, offset int64) (int, error) {
	return d.do("writing", p, offset, d.client.WriteAt)
}

func (d *Device) do(verb string, p []byte, offset int64, request func([]byte, int64) (int, error)) (int, error) {
	if offset < 0 || offset+int64(len(p)) > d.size {
		return 0, fmt.Errorf("%s %d bytes at %d of volume %s: it is %d bytes long", verb, len(p), offset, d.volume, d.size)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.isClosed {
		return 0, fmt.Errorf("%s volume %s: %w", verb, d.volume, ErrClosed)
	}
	n, err := request(p, offset)
	if err == nil && n != len(p) {
		err = fmt.Errorf("%d of %d bytes were done", n, len(p))
	}
	if err != nil {
		return n, fmt.Errorf("%s %d bytes at %d of volume %s: %w", verb, len(p), offset, d.volume, err)
	}
	return n, nil
}

// Close waits for the requests in flight, for requestTimeout at most, and disconnects.
func (d *Device) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.isClosed {
		d.isClosed = true
		d.client.Close()
	}
}

// fixedTimeout is the data path's timeout rule for a client that has no other client to agree with.
type fixedTimeout struct{}

func (fixedTimeout) Increment() {}
func (fixedTimeout) Decrement() {}

func (fixedTimeout) CheckAndDecrement(waited time.Duration) time.Duration {
	if waited > requestTimeout {
		return waited
	}
	return 0
}
