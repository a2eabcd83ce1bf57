Consumer = object
