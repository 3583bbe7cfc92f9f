package rules

import (
	"strings"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"k8s.io/apimachinery/pkg/util/validation"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

// AnnotationImage is Harvester's, on the backing image of a VirtualMachineImage and on
// the claims that were made from it: "namespace/name".
const AnnotationImage = "harvesterhci.io/imageId"

// ImageOf tells which VirtualMachineImage a backing image belongs to.
func ImageOf(image *longhorn.BackingImage) (namespace, name string, ok bool) {
	namespace, name, ok = strings.Cut(image.Annotations[AnnotationImage], "/")
	ok = ok && len(validation.IsDNS1123Label(namespace)) == 0 && len(validation.IsDNS1123Subdomain(name)) == 0
	return namespace, name, ok
}

// ImageSource is what a backing image was made of, nil if it is none of Harvester's.
// A URL that may hold credentials is left out.
func ImageSource(image *longhorn.BackingImage, displayed string) *v1alpha1.ImageSource {
	namespace, name, ok := ImageOf(image)
	if !ok {
		return nil
	}
	out := &v1alpha1.ImageSource{Namespace: namespace, Name: name}
	if len(validation.IsValidLabelValue(displayed)) == 0 {
		out.DisplayName = displayed
	}
	url := image.Spec.SourceParameters[longhorn.DataSourceTypeDownloadParameterURL]
	if image.Spec.SourceType == longhorn.BackingImageDataSourceTypeDownload && document.ImageURL(url) == nil {
		out.URL = url
	}
	return out
}

// Image is the backing image that a disk was written over, and what is here.
type Image struct {
	Disk, Name, Checksum string
	// Here: there is an image of that name, with the checksum Found, "" while it
	// has none yet.
	Here  bool
	Found string
	// Lacking says what the image could be made again with, where it is not here.
	Lacking ImageFacts
}

// ImageFacts is what is known of making an image again.
type ImageFacts struct {
	// Source as the point has it, nil if it has none.
	Source *v1alpha1.ImageSource
	// Namespace is the restore's, where the image is to be made.
	Namespace string
	// Kind: this cluster has VirtualMachineImages.
	Kind bool
	// Images is spec.images; Found: the point was found on a target.
	Images v1alpha1.ImagePolicy
	Found  bool
	// Same is the VirtualMachineImage of that name; nil: there is none.
	Same *SameImage
	// Displayed is another VirtualMachineImage with its display name, "" for none.
	Displayed string
	// InTheWay is a backing image of other content that Harvester would take for that
	// of the new image, and delete before it makes its own; "" for none.
	InTheWay string
	// Backed: Longhorn here knows the backup of the image that Source names, and that
	// it has this very content.
	Backed bool
}

// DisplayName that the image is to have: Harvester's images need one.
func (f ImageFacts) DisplayName() string {
	if f.Source.DisplayName == "" {
		return f.Source.Name
	}
	return f.Source.DisplayName
}

// SameImage is a VirtualMachineImage of the name that is looked for.
type SameImage struct {
	// Checksum that it is meant to have, "" for any.
	Checksum string
	// Imported: it has its content, which is another one.
	Imported bool
	// Failed says why it was given up; "": it was not.
	Failed string
}

// ImageStep is what is to be done about an image that is not here.
type ImageStep string

// The steps to an image.
const (
	ImageMake ImageStep = "Make"
	ImageWait ImageStep = "Wait"
	ImageNone ImageStep = ""
)

// Recreate decides about an image that is not here: whether it is made again, waited
// for, or refused with the reason why. A backup over it holds only the difference, so
// nothing but that very content will do.
func Recreate(i Image) (ImageStep, *Refusal) {
	f := i.Lacking
	refuse := func(why, advice string) (ImageStep, *Refusal) {
		r := refusal(Refused, "disk %s needs Longhorn's backing image %s with checksum %s, which does not exist here, %s: %s", i.Disk, i.Name, i.Checksum, why, advice)
		return ImageNone, &r
	}
	const byHand = "import it first"
	switch {
	case !f.Kind:
		return refuse("and this cluster has no VirtualMachineImages of Harvester's to make it again by", byHand)
	case f.Source == nil:
		return refuse("and the point does not say which VirtualMachineImage it belonged to", byHand)
	}
	name := f.Namespace + "/" + f.Source.Name
	switch same := f.Same; {
	case same == nil:
	case same.Checksum != "" && !strings.EqualFold(same.Checksum, i.Checksum), same.Imported:
		return refuse("and VirtualMachineImage "+name+" is another image", "restore in another namespace, or rename that image and import the right one first")
	case same.Failed != "":
		return refuse("and VirtualMachineImage "+name+" could not be imported ("+same.Failed+")", "delete it when its source can be reached, and restore again")
	default:
		return ImageWait, nil
	}
	switch {
	case f.Displayed != "":
		return refuse("and VirtualMachineImage "+f.Namespace+"/"+f.Displayed+" has its display name "+f.DisplayName()+" and not its content", "restore in another namespace, or import the right image under another name first")
	case f.Source.URL == "":
		return refuse("and VirtualMachineImage "+f.Source.Namespace+"/"+f.Source.Name+" was uploaded or made of a volume, or its URL holds credentials, so there is nothing to fetch it from", "import that very file first")
	case f.Source.Backup && !f.Backed:
		return refuse("and Longhorn here does not know a backup of that content at "+f.Source.URL, "set Harvester's backup-target to that target, so that Longhorn finds it, or "+byHand)
	case f.InTheWay != "":
		return refuse("and to make "+name+" again Harvester would delete backing image "+f.InTheWay+", which has other content", "restore in another namespace, or "+byHand)
	case f.Images != v1alpha1.ImagesRecreate && f.Images != v1alpha1.ImagesFetch:
		return refuse("and spec.images does not say Recreate, which would have it made again from "+f.Source.URL, "say so, which takes the right to create virtualmachineimages in namespace "+f.Namespace+", or "+byHand)
	case f.Found && !f.Source.Backup && f.Images != v1alpha1.ImagesFetch:
		return refuse("and the only source is "+f.Source.URL+", which a document names that was found on a target and may be anybody's", "set spec.images to Fetch if that URL may be fetched from within this cluster, or "+byHand)
	}
	return ImageMake, nil
}
