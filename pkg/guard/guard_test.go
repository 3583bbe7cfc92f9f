package guard

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSetting(t *testing.T) {
	for name, c := range map[string]struct {
		value string
		used  bool
		every time.Duration
		bad   string
		fails bool
	}{
		"never set":           {value: ""},
		"emptied":             {value: `{"type":"","endpoint":""}`},
		"a whole minute":      {value: `{"type":"nfs","endpoint":"nfs://a:/b","refreshIntervalInSeconds":60}`, used: true, every: time.Minute},
		"absent":              {value: `{"type":"nfs","endpoint":"nfs://a:/b"}`, used: true, every: -1, bad: "it is not set"},
		"null":                {value: `{"type":"nfs","endpoint":"nfs://a:/b","refreshIntervalInSeconds":null}`, used: true, every: -1, bad: "it is not set"},
		"zero":                {value: `{"type":"nfs","endpoint":"nfs://a:/b","refreshIntervalInSeconds":0}`, used: true, bad: "it is 0"},
		"a second":            {value: `{"type":"s3","bucketName":"b","refreshIntervalInSeconds":1}`, used: true, every: time.Second, bad: "it is 1s, less than 1m0s"},
		"negative":            {value: `{"type":"s3","bucketName":"b","refreshIntervalInSeconds":-5}`, used: true, every: -5 * time.Second, bad: "it is negative (-5s)"},
		"huge":                {value: `{"type":"s3","bucketName":"b","refreshIntervalInSeconds":1e300}`, used: true, every: 1 << 62},
		"not a number":        {value: `{"type":"s3","bucketName":"b","refreshIntervalInSeconds":"soon"}`, fails: true},
		"not JSON":            {value: `secret-canary`, fails: true},
		"a list":              {value: `["secret-canary"]`, fails: true},
		"a type that is none": {value: `{"type":{"a":"secret-canary"}}`, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			f, used, err := Setting(c.value)
			require.Equal(t, c.fails, err != nil)
			if err != nil {
				require.NotContains(t, err.Error(), "canary")
			}
			require.Equal(t, c.used, used)
			require.Equal(t, Finding{Every: c.every, Bad: c.bad}, f)
		})
	}
}

func TestHealChangesTheIntervalAlone(t *testing.T) {
	value := `{"type":"s3","endpoint":"","bucketName":"b","refreshIntervalInSeconds":0,"cert":"x","virtualHostedStyle":true,"future":{"a":[1,2.50]}}`
	healed, former, err := Heal(value)
	require.NoError(t, err)
	require.Equal(t, "0", former)
	var before, after map[string]any
	require.NoError(t, json.Unmarshal([]byte(value), &before))
	require.NoError(t, json.Unmarshal([]byte(healed), &after))
	require.EqualValues(t, 60, after[field])
	before[field] = after[field]
	require.Equal(t, before, after)
	f, used, err := Setting(healed)
	require.NoError(t, err)
	require.True(t, used)
	require.Empty(t, f.Bad)

	_, former, err = Heal(`{"type":"nfs","endpoint":"x"}`)
	require.NoError(t, err)
	require.Equal(t, "absent", former)
	_, _, err = Heal("no")
	require.Error(t, err)
}

func TestJudge(t *testing.T) {
	require.Empty(t, Judge(Floor, true).Bad)
	require.NotEmpty(t, Judge(Floor-1, true).Bad)
	require.NotEmpty(t, Judge(Floor, false).Bad)
}
