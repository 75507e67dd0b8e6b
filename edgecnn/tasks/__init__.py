"""What a right answer is: classification, segmentation, detection, regression and others, each one file."""
