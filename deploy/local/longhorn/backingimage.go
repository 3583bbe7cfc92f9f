package longhorn

import (
	"context"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"time"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"hayloft.dev/deploy/local/longhorn/admission"
	"hayloft.dev/deploy/local/longhorn/condition"
)

// FileParameter is the source parameter of a BackingImage that names its file on this machine.
const FileParameter = "file"

// backingImages takes care of BackingImage objects: the file is put on every node's disk, once and for good.
type backingImages struct {
	client    client.Client
	namespace string
	dir       string
	nodes     []Node
}

func (b *backingImages) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("backingimage").For(&lh.BackingImage{}).Complete(b)
}

// Reconcile brings an image to the nodes, or takes it from them when it is deleted and no volume uses it.
func (b *backingImages) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	image := &lh.BackingImage{}
	if err := b.client.Get(ctx, req.NamespacedName, image); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if image.DeletionTimestamp != nil {
		return b.remove(ctx, image)
	}
	if controllerutil.AddFinalizer(image, admission.Finalizer) {
		if err := b.client.Update(ctx, image); err != nil {
			return ctrl.Result{}, fmt.Errorf("claiming backing image %s: %w", image.Name, err)
		}
	}
	if imageReady(image, b.nodes) || failed(image) {
		return ctrl.Result{}, nil
	}
	before := image.DeepCopy()
	if image.Status.UUID == "" {
		image.Status.UUID = randomHex(4)
	}
	image.Status.OwnerID = b.nodes[0].Name
	err := b.bring(ctx, image)
	missing := errors.Is(err, os.ErrNotExist)
	switch {
	case missing:
		b.mark(image, lh.BackingImageStatePending, "waiting for the file")
	case err != nil:
		b.mark(image, lh.BackingImageStateFailed, err.Error())
	default:
		b.mark(image, lh.BackingImageStateReady, "")
	}
	if !reflect.DeepEqual(before.Status, image.Status) {
		if err := b.client.Status().Patch(ctx, image, client.MergeFrom(before)); err != nil {
			return ctrl.Result{}, fmt.Errorf("writing the status of backing image %s: %w", image.Name, err)
		}
	}
	if missing {
		return ctrl.Result{RequeueAfter: waitInterval}, nil
	}
	return ctrl.Result{}, nil
}

// bring copies the file to the first node's disk and links it to the others', which are folders of the same file system.
func (b *backingImages) bring(ctx context.Context, image *lh.BackingImage) error {
	source, err := openSource(ctx, image.Spec)
	if err != nil {
		return err
	}
	first := imageFile(b.dir, b.nodes[0].Name, image)
	checksum, size, err := copyFile(source, first)
	if err := errors.Join(err, source.Close()); err != nil {
		return err
	}
	if want := image.Spec.Checksum; want != "" && want != checksum {
		return fmt.Errorf("the expected checksum %s doesn't match the file checksum %s", want, checksum)
	}
	for _, node := range b.nodes[1:] {
		if err := linkFile(first, imageFile(b.dir, node.Name, image)); err != nil {
			return err
		}
	}
	virtual, err := virtualSize(first, size)
	if err != nil {
		return err
	}
	image.Status.Checksum, image.Status.Size, image.Status.RealSize, image.Status.VirtualSize = checksum, size, size, virtual
	return nil
}

// openSource opens what an image is made of: a file of this machine, or what a URL gives.
func openSource(ctx context.Context, spec lh.BackingImageSpec) (io.ReadCloser, error) {
	file, url := spec.SourceParameters[FileParameter], spec.SourceParameters[lh.DataSourceTypeDownloadParameterURL]
	switch {
	case spec.SourceType == lh.BackingImageDataSourceTypeUpload && filepath.IsAbs(file):
		return os.Open(file)
	case spec.SourceType == lh.BackingImageDataSourceTypeDownload && url != "":
		ctx, cancel := context.WithTimeout(ctx, downloadTime)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			cancel()
			return nil, err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			cancel()
			return nil, err
		}
		if answer.StatusCode != http.StatusOK {
			cancel()
			return nil, errors.Join(fmt.Errorf("%s answers %s", url, answer.Status), answer.Body.Close())
		}
		return download{answer.Body, cancel}, nil
	}
	return nil, fmt.Errorf("only source type %q with an absolute path in sourceParameters %q, and %q with a URL in %q, are offered here",
		lh.BackingImageDataSourceTypeUpload, FileParameter, lh.BackingImageDataSourceTypeDownload, lh.DataSourceTypeDownloadParameterURL)
}

// downloadTime bounds a download, which is small and from this machine.
const downloadTime = time.Minute

// download is an answer's body, and ends its deadline with it.
type download struct {
	io.ReadCloser
	end context.CancelFunc
}

func (d download) Close() error {
	defer d.end()
	return d.ReadCloser.Close()
}

// mark sets the state of the copies on all disks.
func (b *backingImages) mark(image *lh.BackingImage, state lh.BackingImageState, message string) {
	progress := 0
	if state == lh.BackingImageStateReady {
		progress = 100
	}
	files := map[string]*lh.BackingImageDiskFileStatus{}
	for _, n := range b.nodes {
		next := &lh.BackingImageDiskFileStatus{DataEngine: lh.DataEngineTypeV1, State: state, Progress: progress, Message: message}
		if old := image.Status.DiskFileStatusMap[diskUUID(n.Name)]; old != nil && old.State == state {
			next.LastStateTransitionTime = old.LastStateTransitionTime
		} else {
			next.LastStateTransitionTime = condition.Now()
		}
		files[diskUUID(n.Name)] = next
	}
	image.Status.DiskFileStatusMap = files
}

func (b *backingImages) remove(ctx context.Context, image *lh.BackingImage) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(image, admission.Finalizer) {
		return ctrl.Result{}, nil
	}
	var volumes lh.VolumeList
	if err := b.client.List(ctx, &volumes, client.InNamespace(b.namespace)); err != nil {
		return ctrl.Result{}, fmt.Errorf("looking who uses backing image %s: %w", image.Name, err)
	}
	for _, vol := range volumes.Items {
		if vol.Spec.BackingImage == image.Name {
			return ctrl.Result{RequeueAfter: waitInterval}, nil
		}
	}
	for _, n := range b.nodes {
		if image.Status.UUID == "" {
			break // it was never brought
		}
		if err := os.RemoveAll(filepath.Dir(imageFile(b.dir, n.Name, image))); err != nil {
			return ctrl.Result{}, fmt.Errorf("removing backing image %s: %w", image.Name, err)
		}
	}
	controllerutil.RemoveFinalizer(image, admission.Finalizer)
	return ctrl.Result{}, client.IgnoreNotFound(b.client.Update(ctx, image))
}

// imageFile is where an image is on a node. An image that is made again under the same name is another file.
func imageFile(dir, node string, image *lh.BackingImage) string {
	return filepath.Join(nodeDir(dir, node), "backing-images", image.Name+"-"+image.Status.UUID, "backing")
}

// imageReady says whether every node has the image.
func imageReady(image *lh.BackingImage, nodes []Node) bool {
	for _, n := range nodes {
		file := image.Status.DiskFileStatusMap[diskUUID(n.Name)]
		if file == nil || file.State != lh.BackingImageStateReady {
			return false
		}
	}
	return true
}

func failed(image *lh.BackingImage) bool {
	for _, file := range image.Status.DiskFileStatusMap {
		if file.State == lh.BackingImageStateFailed {
			return true
		}
	}
	return false
}

// copyFile writes a file and returns its sha512, in hexadecimal as Longhorn has it, and its size in bytes.
func copyFile(in io.Reader, to string) (checksum string, size int64, err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return "", 0, err
	}
	out, err := os.Create(to)
	if err != nil {
		return "", 0, err
	}
	sum := sha512.New()
	size, err = io.Copy(io.MultiWriter(out, sum), in)
	return hex.EncodeToString(sum.Sum(nil)), size, errors.Join(err, out.Close())
}

func linkFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Link(from, to); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// qcow2Magic begins a qcow2 file; the image's size in bytes is at qcow2SizeAt, in big endian.
const (
	qcow2Magic  = "QFI\xfb"
	qcow2SizeAt = 24
)

// virtualSize is the size of the disk that an image describes: of a qcow2 file what its header says, else the file's own.
func virtualSize(path string, size int64) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	header := make([]byte, qcow2SizeAt+8)
	if n, err := io.ReadFull(file, header); err != nil || string(header[:len(qcow2Magic)]) != qcow2Magic {
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("reading %d bytes: %w", n, err)
		}
		return size, nil
	}
	return int64(binary.BigEndian.Uint64(header[qcow2SizeAt:])), nil
}
