package target_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]v1alpha1.BackupTargetSpec{
		"s3://b@eu-1/":                             {S3: &v1alpha1.S3Target{Bucket: "b", Region: "eu-1"}},
		"s3://b@eu-1/team/backups/":                {S3: &v1alpha1.S3Target{Bucket: "b", Region: "eu-1", Prefix: "team/backups"}},
		"nfs://nfs.example.org:/export/b":          {NFS: &v1alpha1.NFSTarget{Server: "nfs.example.org", Path: "/export/b"}},
		"nfs://[fd00::1]:/":                        {NFS: &v1alpha1.NFSTarget{Server: "[fd00::1]", Path: "/"}},
		"nfs://s:/p?nfsOptions=soft%2Ctimeo%3D150": {NFS: &v1alpha1.NFSTarget{Server: "s", Path: "/p", Options: []string{"soft", "timeo=150"}}},
		"cifs://files/share/folder":                {CIFS: &v1alpha1.CIFSTarget{Server: "files", Share: "share/folder"}},
		"cifs://files/s?cifsOptions=vers%3D3.0":    {CIFS: &v1alpha1.CIFSTarget{Server: "files", Share: "s", Options: []string{"vers=3.0"}}},
		"azblob://c@core.windows.net/":             {AzureBlob: &v1alpha1.AzureBlobTarget{Container: "c"}},
		"azblob://c@core.chinacloudapi.cn/x/":      {AzureBlob: &v1alpha1.AzureBlobTarget{Container: "c", EndpointSuffix: "core.chinacloudapi.cn", Prefix: "x"}},
		"vfs:///mnt/backups":                       {Directory: &v1alpha1.DirectoryTarget{Path: "/mnt/backups"}},
		"vfs:///a%3Fvolume=x":                      {Directory: &v1alpha1.DirectoryTarget{Path: "/a?volume=x"}},
	} {
		got, err := target.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
		back, err := target.URL(got)
		require.NoError(t, err)
		require.Equal(t, text, back)
	}
	for text, want := range map[string]v1alpha1.BackupTargetSpec{
		"s3://b@eu-1":                   {S3: &v1alpha1.S3Target{Bucket: "b", Region: "eu-1"}},
		"nfs://s/p":                     {NFS: &v1alpha1.NFSTarget{Server: "s", Path: "/p"}},
		"nfs://s:/p?nfsOptions=soft,ro": {NFS: &v1alpha1.NFSTarget{Server: "s", Path: "/p", Options: []string{"soft", "ro"}}},
	} {
		got, err := target.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
}

// Nothing that may be a secret is said again.
func TestParseRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"":                                   "is no URL of a target",
		"backups":                            "is no URL of a target",
		"https://s3.example.org/hunter2":     "is no URL of a target",
		"s3://bucket/prefix":                 "is no URL of a target",
		"s3://key:hunter2@region/":           "put them into the Secret",
		"cifs://user:hunter2@files/share":    "put them into the Secret",
		"cifs://hunter2@files/share":         "put them into the Secret",
		"nfs://hunter2@nas:/export":          "put them into the Secret",
		"cifs://files":                       "is no URL of a target",
		"nfs://nas":                          "is no URL of a target",
		"nfs://:/export":                     "is no URL of a target",
		"vfs://mnt/backups":                  "is no URL of a target",
		"s3://b@r/?key=hunter2":              "nothing may follow",
		"nfs://s:/p?soft":                    "as ?nfsOptions=soft",
		"cifs://s/p?cifsOptions=a&x=hunter2": "as ?cifsOptions=soft",
		"s3://b@r/#hunter2":                  "is no URL of a target",
		"s3://b:hunter2%zz@r/":               "is no URL of a target",
	} {
		_, err := target.Parse(text)
		require.ErrorContains(t, err, says, text)
		require.NotContains(t, err.Error(), "hunter2", text)
	}
}
