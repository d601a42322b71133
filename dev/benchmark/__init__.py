"""What `make bench` calls: measurements of what this project costs, beside what people use today."""
