package store

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/awserr"
	"github.com/aws/aws-sdk-go/aws/request"
	"github.com/aws/aws-sdk-go/service/s3"

	"hayloft.dev/coordinator/targetio/protocol"
)

// walk lists a whole prefix, a thousand keys a request. Each page is read as a
// stream: the SDK would build a tree of it and turn that into objects by
// reflection, which costs several times more.
func (b *bucket) walk(ctx context.Context, dir string, see func(File) error) error {
	prefix := b.prefix + dir + "/"
	token := ""
	for {
		in := &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: &prefix, EncodingType: aws.String(s3.EncodingTypeUrl)}
		if token != "" {
			in.ContinuationToken = &token
		}
		req, _ := b.client.ListObjectsV2Request(in)
		req.SetContext(ctx)
		page := listing{prefix: prefix, below: b.prefix, see: see}
		req.Handlers.Unmarshal.Clear()
		req.Handlers.Unmarshal.PushBack(page.unmarshal)
		if err := req.Send(); err != nil {
			if page.seen != nil {
				return page.seen
			}
			return b.fail(ctx, "listing /"+prefix, err)
		}
		switch {
		case !page.more:
			return nil
		case page.next == "" || page.next == token:
			return &protocol.Error{Reason: protocol.Invalid, Transient: true, Message: fmt.Sprintf(
				"listing /%s in bucket %s at %s: the service says that there is more, and not where", prefix, b.name, b.endpoint)}
		}
		token = page.next
	}
}

// listing reads one page of a ListObjectsV2 answer.
type listing struct {
	prefix string
	below  string // what paths are relative to
	see    func(File) error

	more bool
	next string
	// seen is the error with which see ended the listing.
	seen error
}

// contents is one key as S3 writes it.
type contents struct {
	Key, ETag, LastModified string
	Size                    int64
}

func (l *listing) unmarshal(r *request.Request) {
	defer func() { _ = r.HTTPResponse.Body.Close() }()
	if err := l.read(r.HTTPResponse.Body); err != nil {
		r.Error = awserr.New(request.ErrCodeSerialization, "the answer is not a listing", err)
		r.Retryable = aws.Bool(false)
	}
}

func (l *listing) read(body io.Reader) error {
	dec := xml.NewDecoder(body)
	whole := false
	for {
		token, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch element := token.(type) {
		case xml.EndElement:
			whole = whole || element.Name.Local == "ListBucketResult"
		case xml.StartElement:
			if err := l.element(dec, element.Name.Local); err != nil {
				return err
			}
		}
	}
	if !whole {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (l *listing) element(dec *xml.Decoder, name string) error {
	switch name {
	case "IsTruncated":
		s, err := text(dec)
		l.more = strings.TrimSpace(s) == "true"
		return err
	case "NextContinuationToken":
		s, err := text(dec)
		l.next = s
		return err
	case "Contents":
		c, err := readContents(dec)
		if err != nil {
			return err
		}
		return l.tell(c)
	}
	return nil
}

func (l *listing) tell(c contents) error {
	key, err := url.QueryUnescape(c.Key)
	if err != nil {
		key = c.Key // a service that does not encode keys
	}
	if !strings.HasPrefix(key, l.prefix) {
		return fmt.Errorf("the key %q was not asked for", key)
	}
	version := strings.Trim(c.ETag, `"`)
	if version == "" {
		version = c.LastModified // a service that knows no ETag of what others put there
	}
	if err := l.see(File{Path: strings.TrimPrefix(key, l.below), Size: c.Size, Version: version}); err != nil {
		l.seen = err
		return err
	}
	return nil
}

// readContents reads up to the end of an element whose start was read.
func readContents(dec *xml.Decoder) (c contents, err error) {
	for {
		token, err := dec.RawToken()
		if err != nil {
			return c, err
		}
		switch element := token.(type) {
		case xml.EndElement:
			if element.Name.Local == "Contents" {
				return c, nil
			}
		case xml.StartElement:
			var into *string
			var size string
			switch element.Name.Local {
			case "Key":
				into = &c.Key
			case "ETag":
				into = &c.ETag
			case "LastModified":
				into = &c.LastModified
			case "Size":
				into = &size
			default:
				continue
			}
			if *into, err = text(dec); err != nil {
				return c, err
			}
			if into == &size {
				if c.Size, err = strconv.ParseInt(strings.TrimSpace(size), 10, 64); err != nil {
					return c, fmt.Errorf("%q is not a size", size)
				}
			}
		}
	}
}

// text is what follows up to the next tag.
func text(dec *xml.Decoder) (string, error) {
	var out strings.Builder
	for {
		token, err := dec.RawToken()
		if err != nil {
			return "", err
		}
		data, ok := token.(xml.CharData)
		if !ok {
			if _, end := token.(xml.EndElement); !end {
				return "", errors.New("a tag where text should be")
			}
			return out.String(), nil
		}
		out.Write(data)
	}
}
