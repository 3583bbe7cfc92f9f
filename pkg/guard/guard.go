// Package guard judges the refresh intervals of other programs: with 0, or none,
// Harvester's own controller of its backup-target setting runs without a pause and
// keeps a core busy; with a second it nearly does (harvester#7885, #8253).
//
// It is pure: it reads and writes nothing, and knows of Harvester's setting and of
// Longhorn's BackupTargets only what their values look like.
package guard

import (
	"encoding/json"
	"fmt"
	"time"
)

// Floor is the shortest interval that is left alone, and what others are set to:
// Harvester's documentation advises no less.
const Floor = 60 * time.Second

// field of Harvester's setting.
const field = "refreshIntervalInSeconds"

// Finding is what an interval is.
type Finding struct {
	// Every is the interval; negative: there is none.
	Every time.Duration
	// Bad says what is wrong with it, "" for nothing.
	Bad string
}

// Judge looks at an interval; present is false where there is none.
func Judge(every time.Duration, present bool) Finding {
	switch {
	case !present:
		return Finding{Every: -1, Bad: "it is not set"}
	case every == 0:
		return Finding{Every: 0, Bad: "it is 0"}
	case every < 0:
		return Finding{Every: every, Bad: fmt.Sprintf("it is negative (%s)", every)}
	case every < Floor:
		return Finding{Every: every, Bad: fmt.Sprintf("it is %s, less than %s", every, Floor)}
	}
	return Finding{Every: every}
}

// Setting judges the value of Harvester's backup-target setting, a JSON object.
// used is false for one that names no target: it is not looked at. A value that
// cannot be read is an error; it may hold keys, so the error does not show it.
func Setting(value string) (f Finding, used bool, err error) {
	fields, err := read(value)
	if err != nil || len(fields) == 0 {
		return f, false, err
	}
	var kind, endpoint, bucket string
	for name, into := range map[string]*string{"type": &kind, "endpoint": &endpoint, "bucketName": &bucket} {
		if raw, ok := fields[name]; ok && json.Unmarshal(raw, into) != nil {
			return f, false, fmt.Errorf("field %s of the setting is not a text", name)
		}
	}
	if kind == "" || endpoint == "" && bucket == "" {
		return f, false, nil
	}
	raw, present := fields[field]
	var seconds float64
	if present && string(raw) != "null" {
		if json.Unmarshal(raw, &seconds) != nil {
			return f, false, fmt.Errorf("field %s of the setting is not a number", field)
		}
	} else {
		present = false
	}
	const most = float64(1<<62) / float64(time.Second)
	return Judge(time.Duration(max(-most, min(seconds, most))*float64(time.Second)), present), true, nil
}

// Heal is the value of the setting with the interval set to Floor, all else as it
// was, and what the interval was before, for people.
func Heal(value string) (healed, former string, err error) {
	fields, err := read(value)
	if err != nil {
		return "", "", err
	}
	former = "absent"
	if raw, ok := fields[field]; ok {
		former = string(raw)
	}
	fields[field] = json.RawMessage(fmt.Sprint(int(Floor / time.Second)))
	data, err := json.Marshal(fields)
	if err != nil {
		return "", "", fmt.Errorf("writing the setting: %w", err)
	}
	return string(data), former, nil
}

func read(value string) (map[string]json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	if value == "" {
		return fields, nil
	}
	if json.Unmarshal([]byte(value), &fields) != nil {
		return nil, fmt.Errorf("the setting is not a JSON object")
	}
	return fields, nil
}
