package vmspec

import "slices"

// object is a JSON object of an unstructured VM. Maps are shared, so writing
// to one found below another changes the whole.
type object = map[string]any

// child descends through objects; nil when one of them is missing or no object.
func child(o object, path ...string) object {
	for _, key := range path {
		next, _ := o[key].(object)
		if next == nil {
			return nil
		}
		o = next
	}
	return o
}

// children are the objects in the list o[key]; elements of any other type are
// left out.
func children(o object, key string) []object {
	var out []object
	for _, e := range list(o, key) {
		if m, ok := e.(object); ok {
			out = append(out, m)
		}
	}
	return out
}

func text(o object, key string) string {
	s, _ := o[key].(string)
	return s
}

func truth(o object, key string) bool {
	b, _ := o[key].(bool)
	return b
}

// sortedKeys of a map, for output that is the same every time.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// list is o[key] when it is a list.
func list(o object, key string) []any {
	l, _ := o[key].([]any)
	return l
}
