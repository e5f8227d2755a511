//! Content by hash in a folder: the same store on both ends of `blobs.proto`.
