"""What loads and makes data: folders of words, features, streams, tasks without sound."""
